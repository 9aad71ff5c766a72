// SPDX-License-Identifier: Apache-2.0
// tanul data get: fetches a known data set.
#include "cli/commands.h"
#include "cli/data_source.h"
#include "cli/download.h"
#include "cli/output.h"

namespace tanul::cli {

namespace {

void show(const DownloadProgress& p, bool& is_open) {
  using State = DownloadProgress::State;
  const bool is_terminal = out_is_terminal();
  const char* start = is_open ? "\r\x1b[K" : "";
  switch (p.state) {
    case State::kept: say("{}{}  is there already\n", start, p.file); break;
    case State::finished: say("{}{}  {}  verified\n", start, p.file, mib(p.done)); break;
    case State::retrying: say("{}{}  {}: {}\n", start, p.file, p.url, p.message); break;
    case State::running:
      if (!is_terminal) return;
      if (p.total > 0) {
        say("\r{}  {} of {}\x1b[K", p.file, mib(p.done), mib(p.total));
      } else {
        say("\r{}  {}\x1b[K", p.file, mib(p.done));
      }
      flush_out();
      is_open = true;
      return;
  }
  is_open = false;
  flush_out();
}

}  // namespace

int run_data_get(const DataGetArgs& args) {
  const RemoteDataset& dataset = find_remote_dataset(args.name);
  DownloadOptions options;
  options.folder = args.to.empty() ? download_folder(dataset.name) : args.to;
  options.replace = args.replace;
  bool is_open = false;
  options.progress = [&](const DownloadProgress& progress) { show(progress, is_open); };
  say("{} · {}\n", dataset.title, dataset.licence);
  download_dataset(dataset.files, options);
  say("{} lies in {}; use it with --data {}\n", dataset.title, options.folder,
      args.to.empty() ? dataset.name : options.folder);
  return 0;
}

}  // namespace tanul::cli
