// SPDX-License-Identifier: Apache-2.0
// Fetches files over HTTP(S) and lets only what has the published SHA-256 arrive under its name:
// the engine of `tanul data get`. Part of the command line tool, not of the library; prints
// nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace tanul::cli {

struct RemoteFile {
  std::string name;               // the file's name in the folder, without a path
  std::string sha256;             // of the whole file, 64 lower-case hexadecimal digits
  int64_t bytes = 0;              // its size, 0: unknown; a mirror that sends more is wrong
  std::vector<std::string> urls;  // mirrors, tried in this order
};

struct DownloadProgress {
  enum class State {
    kept,      // it was there already, with the right content
    running,   // `done` of `total` bytes are there
    retrying,  // `message` says what went wrong; the next attempt or mirror follows
    finished,  // verified and under its final name
  };
  State state = State::running;
  std::string file;  // RemoteFile::name
  std::string url;
  int64_t done = 0;
  int64_t total = -1;  // -1: unknown
  std::string message;
};

struct DownloadOptions {
  std::string folder;  // made where it is missing
  double connect_timeout_s = 15.0;
  double stall_timeout_s = 20.0;  // without a single byte; checked about twice a second
  int retries = 4;                // further attempts per mirror after a cut or a stall
  double retry_delay_s = 1.0;     // before the second attempt, doubled each time, at most 10 s
  bool replace = false;           // fetch a file again that is there with other content
  std::function<void(const DownloadProgress&)> progress;  // may be empty; may throw to give up
};

// Brings every file into the folder. What arrives is collected in NAME.part, resumed from there
// (also by a later call), verified, flushed and renamed; a NAME.part whose content turns out wrong
// is thrown away. A file that is there with the right content is not fetched.
//
// A 4xx or 5xx answer, a failed connection or wrong content leads to the next mirror; a cut or a
// stall first to further attempts that resume. When all mirrors failed: Error{io} with each
// mirror's reason. Error{exists}: a file of that name has other content and `replace` is off.
void download_dataset(const std::vector<RemoteFile>& files, const DownloadOptions& options);

// A data set that `tanul data get NAME` knows.
struct RemoteDataset {
  std::string name;     // "mnist": what the user types and the folder's default name
  std::string title;    // "MNIST"
  std::string licence;  // one line: licence and authors
  std::vector<RemoteFile> files;
};

const std::vector<RemoteDataset>& remote_datasets();

// Throws Error{not_found} that lists the known names.
const RemoteDataset& find_remote_dataset(const std::string& name);

// SHA-256 of a file as 64 lower-case hexadecimal digits. Throws Error{not_found, io}.
std::string sha256_of_file(const std::string& path);

}  // namespace tanul::cli
