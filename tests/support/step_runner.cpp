// SPDX-License-Identifier: Apache-2.0
#include "support/step_runner.h"

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "core/format.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/parallel.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, bytes)
#define ASAN_UNPOISON_MEMORY_REGION(address, bytes)
#endif

namespace tanul::test {

namespace {

// Memory with guard zones directly before and behind it: writes there are found by their mark, reads by
// AddressSanitizer. Poison 0xFF is NaN as float and double.
class Guarded {
 public:
  explicit Guarded(int64_t bytes) : bytes_(static_cast<size_t>(bytes)) {
    const size_t total = (kGuard + bytes_ + kGuard + 63) / 64 * 64;
    memory_.reset(static_cast<std::byte*>(std::aligned_alloc(64, total)));
    std::memset(memory_.get(), kMark, total);
    std::memset(data(), 0xFF, bytes_);
    ASAN_POISON_MEMORY_REGION(memory_.get(), kGuard);
    ASAN_POISON_MEMORY_REGION(data() + bytes_, total - kGuard - bytes_);
  }
  std::byte* data() const { return memory_.get() + kGuard; }
  size_t bytes() const { return bytes_; }
  bool is_intact() const {
    ASAN_UNPOISON_MEMORY_REGION(memory_.get(), kGuard + bytes_ + kGuard);
    for (size_t i = 0; i < kGuard; ++i) {
      if (memory_.get()[i] != std::byte{kMark} || data()[bytes_ + i] != std::byte{kMark}) {
        return false;
      }
    }
    return true;
  }

 private:
  static constexpr size_t kGuard = 256;
  static constexpr unsigned char kMark = 0xA5;
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  size_t bytes_;
  std::unique_ptr<std::byte, Free> memory_;
};

template <typename T>
void store_as(const RefTensor& t, std::byte* to) {
  for (int64_t i = 0; i < t.elems(); ++i) {
    const T value = static_cast<T>(t[i]);
    std::memcpy(to + static_cast<size_t>(i) * sizeof(T), &value, sizeof(T));
  }
}

int64_t bytes_of(const RefTensor& t) { return t.elems() * dtype_bytes(t.dtype); }

Operand operand_of(const RefTensor& t) {
  Operand operand{};
  operand.rank = t.present ? t.shape.rank() : -1;
  operand.dtype = static_cast<int32_t>(t.dtype);
  for (int i = 0; i < operand.rank; ++i) operand.dims[i] = t.shape[i];
  return operand;
}

Stream* stream_of(int threads) {
  static std::unique_ptr<Stream> streams[8];
  std::unique_ptr<Stream>& stream = streams[threads];
  if (stream == nullptr) stream = std::make_unique<Stream>(threads);
  return stream.get();
}

}  // namespace

void store(const RefTensor& t, std::byte* to) {
  if (t.dtype == DType::f32) store_as<float>(t, to);
  if (t.dtype == DType::i32) store_as<int32_t>(t, to);
  if (t.dtype == DType::u8) store_as<uint8_t>(t, to);
}

int launch_step(const Implementation& implementation, Stream* stream, const StepArgs& args) {
  const cpu::BlasSingleThread blas;
  return implementation.launch(stream, args);
}

RunResult run_step(const Implementation& implementation, const Step& step,
                   const RunOptions& options) {
  RunResult result;
  std::vector<Operand> in, out;
  for (const RefTensor& t : step.in) in.push_back(operand_of(t));
  for (const RefTensor& t : step.want) out.push_back(operand_of(t));
  if (options.absent_out >= 0) out[static_cast<size_t>(options.absent_out)].rank = -1;
  StepBlock block{step.context.seed, step.context.step, step.context.lr, 0};
  StepArgs args{};
  args.in = in.data();
  args.out = out.data();
  args.in_count = static_cast<int32_t>(in.size());
  args.out_count = static_cast<int32_t>(out.size());
  args.params = step.params.data();
  args.block = &block;

  // Planning happens while all data pointers are null.
  if (const char* reason = implementation.supports(args)) {
    result.is_refused = true;
    result.failure = reason;
    return result;
  }
  args.workspace_bytes = implementation.workspace_bytes(args, options.threads);

  if (args.workspace_bytes < 0) {
    result.failure = fmt::format("asks for a workspace of {} bytes", args.workspace_bytes);
    return result;
  }

  std::vector<Guarded> in_memory, out_memory;
  for (size_t i = 0; i < in.size(); ++i) {
    in_memory.emplace_back(in[i].present() ? bytes_of(step.in[i]) : 0);
    if (!in[i].present()) continue;
    store(step.in[i], in_memory[i].data());
    in[i].data = in_memory[i].data();
  }
  for (size_t i = 0; i < out.size(); ++i) {
    out_memory.emplace_back(out[i].present() ? bytes_of(step.want[i]) : 0);
    if (out[i].present()) out[i].data = out_memory[i].data();
  }
  std::vector<bool> is_overwritten(in.size(), false);
  for (const auto& [from, to] : options.in_place) {
    out[static_cast<size_t>(to)].data = in[static_cast<size_t>(from)].data;
    is_overwritten[static_cast<size_t>(from)] = true;
  }
  const Guarded workspace(args.workspace_bytes);
  args.workspace = workspace.data();

  const int status = launch_step(implementation, stream_of(options.threads), args);
  if (status != 0) result.failure = fmt::format("launch returned {}", status);
  if (!workspace.is_intact()) {
    result.failure = fmt::format("wrote outside the workspace of {} bytes", args.workspace_bytes);
  }
  for (size_t i = 0; i < in.size(); ++i) {
    if (!in_memory[i].is_intact()) result.failure = fmt::format("wrote outside input {}", i);
    if (!in[i].present() || is_overwritten[i]) continue;
    std::vector<std::byte> before(in_memory[i].bytes());
    store(step.in[i], before.data());
    if (std::memcmp(before.data(), in_memory[i].data(), before.size()) != 0) {
      result.failure = fmt::format("changed input {}", i);
    }
  }
  for (size_t i = 0; i < out.size(); ++i) {
    if (!out_memory[i].is_intact()) result.failure = fmt::format("wrote outside output {}", i);
    result.out.emplace_back();
    if (!out[i].present()) continue;
    const std::byte* data = out[i].as<std::byte>();
    result.out.back().assign(data, data + bytes_of(step.want[i]));
  }
  return result;
}

RefTensor to_ref(const RefTensor& like, const std::vector<std::byte>& bytes) {
  RefTensor t(like.shape, like.dtype);
  for (int64_t i = 0; i < t.elems(); ++i) {
    const size_t at = static_cast<size_t>(i);
    if (like.dtype == DType::i32) {
      int32_t value;
      std::memcpy(&value, bytes.data() + at * sizeof value, sizeof value);
      t[i] = value;
    } else {
      float value;
      std::memcpy(&value, bytes.data() + at * sizeof value, sizeof value);
      t[i] = static_cast<double>(value);
    }
  }
  return t;
}

std::string first_error(const RefTensor& got, const RefTensor& want,
                        const std::vector<double>& bound) {
  for (int64_t i = 0; i < want.elems(); ++i) {
    const double limit = bound[static_cast<size_t>(i)];
    const double rounded =
        want.dtype == DType::f32 ? static_cast<double>(static_cast<float>(want[i])) : want[i];
    if (std::isnan(want[i]) ? std::isnan(got[i]) : got[i] == rounded) continue;
    if (limit > 0 && std::abs(got[i] - want[i]) <= limit) continue;
    return fmt::format(
        "element {} of {} is {:.9g}, the reference says {:.9g}, off by {:.3g}, {}", i,
        want.shape.str(), got[i], want[i], std::abs(got[i] - want[i]),
        limit > 0 ? fmt::format("allowed are {:.3g}", limit) : std::string("and has to be exact"));
  }
  return {};
}

}  // namespace tanul::test
