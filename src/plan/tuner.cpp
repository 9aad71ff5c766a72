// SPDX-License-Identifier: Apache-2.0
#include "plan/tuner.h"

#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <exception>
#include <optional>

#include "core/format.h"
#include "core/philox.h"
#include "io/file.h"
#include "kernels/op.h"

namespace tanul {

namespace {

constexpr double kTolerance = 1.05;     // times the best: as good as it
constexpr double kLeastSeconds = 1e-3;  // of a measurement: so often is the step run
constexpr int kMostRuns = 50;
constexpr int kRepeats = 3;  // of which the quickest counts

// FNV-1a, 64 bits.
uint64_t hash_of(const std::string& text) {
  uint64_t hash = 0xCBF29CE484222325u;
  for (const char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001B3u;
  return hash;
}

std::string operand_text(const Operand& operand) {
  if (!operand.present()) return " -";
  std::string text = fmt::format(" {}[", dtype_name(static_cast<DType>(operand.dtype)));
  for (int i = 0; i < operand.rank; ++i) {
    text += fmt::format("{}{}", i > 0 ? "," : "", operand.dims[i]);
  }
  return text + "]";
}

// "conv2d_fwd f32[64,3,32,32] … > f32[64,6,28,28] : direct implicit_gemm : <parameters>". A plan of another
// precision allows others.
std::string key_of(OpKind kind, const StepArgs& args, const Tuner::Candidates& allowed) {
  std::string key = op_name(kind);
  for (int i = 0; i < args.in_count; ++i) key += operand_text(args.in[i]);
  key += " >";
  for (int i = 0; i < args.out_count; ++i) key += operand_text(args.out[i]);
  key += " :";
  for (const Implementation* candidate : allowed) key += std::string(" ") + candidate->name;
  key += " : ";
  const auto* params = static_cast<const uint8_t*>(args.params);
  size_t bytes = Params::kBytes;
  while (bytes > 0 && params[bytes - 1] == 0) --bytes;
  for (size_t i = 0; i < bytes; ++i) key += fmt::format("{:02x}", params[i]);
  return key;
}

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts;
  size_t begin = 0;
  for (size_t end = text.find(at); end != std::string::npos; end = text.find(at, begin)) {
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  parts.push_back(text.substr(begin));
  return parts;
}

// "0.41"; nothing where it is no number.
std::optional<double> read_number(const std::string& text) {
  double value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end || !std::isfinite(value)) return {};
  return value;
}

// The operands of a step in scratch memory: floats are random, everything else is 0, which is a valid index
// and a valid label.
class Scratch {
 public:
  Scratch(Backend& backend, const StepArgs& args, int64_t workspace_bytes) : args_(args) {
    for (int i = 0; i < args.in_count; ++i) in_.push_back(place(backend, args.in[i], i + 1));
    for (int i = 0; i < args.out_count; ++i) out_.push_back(place(backend, args.out[i], 0));
    if (workspace_bytes > 0) {
      memory_.emplace_back(backend, workspace_bytes);
      args_.workspace = memory_.back().data();
    }
    memory_.emplace_back(backend, static_cast<int64_t>(sizeof(StepBlock)));
    args_.block = reinterpret_cast<const StepBlock*>(memory_.back().data());
    args_.in = in_.data();
    args_.out = out_.data();
  }
  StepArgs with_workspace(int64_t bytes) const {
    StepArgs args = args_;
    args.workspace_bytes = bytes;
    return args;
  }

 private:
  // `stream` 0: left as it is.
  Operand place(Backend& backend, Operand operand, int stream) {
    if (!operand.present()) return operand;
    const int64_t bytes = operand.elems() * dtype_bytes(static_cast<DType>(operand.dtype));
    memory_.emplace_back(backend, bytes);
    operand.data = memory_.back().data();
    if (stream == 0 || operand.dtype != static_cast<int32_t>(DType::f32)) return operand;
    const Philox random{1, philox_stream("tuning"), static_cast<uint32_t>(stream)};
    std::vector<float> values(static_cast<size_t>(std::min<int64_t>(operand.elems(), 1 << 16)));
    for (size_t i = 0; i < values.size(); ++i) values[i] = random.uniform24(i) - 0.5f;
    const auto piece = static_cast<int64_t>(values.size()) * 4;
    for (int64_t at = 0; at < bytes; at += piece) {
      backend.copy_in(memory_.back().data() + at, values.data(), std::min(piece, bytes - at));
    }
    return operand;
  }

  StepArgs args_;
  std::vector<Operand> in_, out_;
  std::vector<DeviceMemory> memory_;
};

}  // namespace

std::string tuning_folder() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  if (cache != nullptr && cache[0] == '/') return std::string(cache) + "/tanul";
  const char* home = std::getenv("HOME");
  if (home != nullptr && home[0] == '/') return std::string(home) + "/.cache/tanul";
  return {};
}

Tuner::Tuner(Backend& backend, std::string folder)
    : backend_(backend),
      identity_(backend.identity()),
      path_(folder.empty() ? std::string()
                           : fmt::format("{}/tuning-{:016x}.txt", folder, hash_of(identity_))) {
  times_ = read_times();
}

// --- the choice -----------------------------------------------------------------------------------

std::optional<Tuner::Choice> Tuner::recall(OpKind kind, const StepArgs& args,
                                           const Candidates& allowed) const {
  const auto found = times_.find(key_of(kind, args, allowed));
  if (found == times_.end()) return {};
  const Times& times = found->second;
  double best = HUGE_VAL;
  for (const auto& [name, ms] : times) {
    if (ms >= 0) best = std::min(best, ms);
  }
  size_t place = 0;
  while (!(times[place].second >= 0 && times[place].second <= best * kTolerance)) ++place;
  Choice choice{allowed[place], fmt::format("{:.3g} ms", times[place].second), {}};
  for (size_t i = 0; i < times.size(); ++i) {
    if (times[i].second < 0) {
      choice.idle.push_back(allowed[i]);
    } else if (i != place) {
      choice.why += fmt::format(", {} {:.3g} ms", times[i].first, times[i].second);
    }
  }
  return choice;
}

Tuner::Choice Tuner::choose(OpKind kind, const StepArgs& args, const Candidates& allowed,
                            const Candidates& supporting) {
  const auto can = [&](const Implementation* one) {
    return std::find(supporting.begin(), supporting.end(), one) != supporting.end();
  };
  std::optional<Choice> choice = recall(kind, args, allowed);
  if (!choice || !can(choice->implementation)) {
    Times times;
    if (!measure(args, allowed, supporting, times)) return {supporting.front(), {}, {}};
    const std::string key = key_of(kind, args, allowed);
    if (choice) replaced_.insert(key);
    times_[key] = std::move(times);
    has_news_ = true;
    choice = recall(kind, args, allowed);
  }
  return *choice;
}

// False where there is no memory for it, or none of them ran.
bool Tuner::measure(const StepArgs& args, const Candidates& allowed, const Candidates& supporting,
                    Times& times) {
  std::map<const Implementation*, int64_t> workspace_bytes;
  int64_t largest = 0;
  for (const Implementation* candidate : supporting) {
    const int64_t bytes = candidate->workspace_bytes(args, backend_.threads());
    workspace_bytes[candidate] = bytes;
    largest = std::max(largest, bytes);
  }
  bool has_run = false;
  try {
    const Scratch scratch(backend_, args, largest);
    for (const Implementation* candidate : allowed) {
      const auto bytes = workspace_bytes.find(candidate);
      const double ms = bytes == workspace_bytes.end()
                            ? -1
                            : milliseconds_of(*candidate, scratch.with_workspace(bytes->second));
      times.emplace_back(candidate->name, ms);
      has_run |= ms >= 0;
    }
  } catch (const Error& e) {
    if (e.code() != Code::out_of_memory) throw;
    has_run = false;
  }
  backend_.forget_peak();
  return has_run;
}

double Tuner::milliseconds_of(const Implementation& implementation, const StepArgs& args) {
  int status = 0;
  const auto run = [&](int runs) {
    return backend_.seconds_of([&] {
      for (int i = 0; i < runs && status == 0; ++i) {
        status = implementation.launch(backend_.stream(), args);
      }
    });
  };
  const StepScope scope(backend_);
  run(1);  // what is loaded or made at the first launch
  const double once = run(1);
  const auto runs = static_cast<int>(
      std::clamp(kLeastSeconds / std::max(once, 1e-9), 1.0, static_cast<double>(kMostRuns)));
  double best = HUGE_VAL;
  for (int i = 0; i < kRepeats; ++i) best = std::min(best, run(runs) / runs);
  // In whole nanoseconds: what the file will say again.
  return status == 0 ? std::round(1e9 * best) / 1e6 : -1;
}

// --- the file -------------------------------------------------------------------------------------
//
// A line for the version and the device, then one a step: its key, and name and milliseconds of each
// implementation, with tabs between them.

std::string Tuner::header() const {
  return fmt::format("tanul tuning 2\t{}\t{}", version(), identity_);
}

// Empty where there is no file, or where it is not wholly what it should be.
std::map<std::string, Tuner::Times> Tuner::read_times() const {
  if (path_.empty()) return {};
  std::string text;
  try {
    text = read_file(path_);
  } catch (const Error&) {
    return {};
  }
  if (text.empty() || text.back() != '\n') return {};
  text.pop_back();
  const std::vector<std::string> lines = split(text, '\n');
  if (lines.front() != header()) return {};
  std::map<std::string, Times> result;
  for (size_t i = 1; i < lines.size(); ++i) {
    const std::vector<std::string> fields = split(lines[i], '\t');
    if (fields.size() < 5 || fields.size() % 2 == 0) return {};
    Times times;
    bool has_run = false;
    std::string names = " :";
    for (size_t f = 1; f < fields.size(); f += 2) {
      const std::optional<double> ms = read_number(fields[f + 1]);
      if (!ms) return {};
      times.emplace_back(fields[f], *ms);
      has_run |= *ms >= 0;
      names += " " + fields[f];
    }
    // The key says which implementations these are.
    if (!has_run || fields[0].find(names + " : ") == std::string::npos) return {};
    result.emplace(fields[0], std::move(times));
  }
  return result;
}

void Tuner::save() noexcept {
  if (!has_news_ || path_.empty()) return;
  has_news_ = false;
  try {
    // What another process wrote meanwhile stays, unless it was read and is not so any more: who comes later
    // follows it.
    std::map<std::string, Times> all = read_times();
    for (const std::string& key : replaced_) all.erase(key);
    replaced_.clear();
    all.insert(times_.begin(), times_.end());
    std::string text = header() + "\n";
    for (const auto& [key, times] : all) {
      text += key;
      for (const auto& [name, ms] : times) text += fmt::format("\t{}\t{}", name, ms);
      text += "\n";
    }
    const size_t folder = path_.rfind('/');
    const size_t above = path_.rfind('/', folder - 1);
    ::mkdir(path_.substr(0, above).c_str(), 0755);
    ::mkdir(path_.substr(0, folder).c_str(), 0755);
    write_file_atomic(path_, text);
  } catch (const std::exception&) {  // measured again next time
  }
}

}  // namespace tanul
