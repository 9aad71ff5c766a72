// SPDX-License-Identifier: Apache-2.0
#include "support/step_runner.h"

#include <cmath>
#include <cstring>
#include <utility>

#include "core/format.h"
#include "kernels/cpu/gemm.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, bytes) ((void)0)
#define ASAN_UNPOISON_MEMORY_REGION(address, bytes) ((void)0)
#endif

namespace tanul::test {

namespace {

// Memory with guard zones directly before and behind it: writes there are found by their mark, reads by
// AddressSanitizer where the memory is the host's. Poison 0xFF is NaN as float and double.
class Guarded {
 public:
  Guarded(TestDevice& device, int64_t bytes)
      : device_(&device),
        bytes_(static_cast<size_t>(bytes)),
        total_((kGuard + bytes_ + kGuard + 63) / 64 * 64) {
    memory_ = device.allocate(total_);
    std::vector<std::byte> start(total_, std::byte{kMark});
    std::memset(start.data() + kGuard, 0xFF, bytes_);
    device.copy_to(memory_, start.data(), total_);
    if (device.has_host_memory()) {
      ASAN_POISON_MEMORY_REGION(memory_, kGuard);
      ASAN_POISON_MEMORY_REGION(data() + bytes_, total_ - kGuard - bytes_);
    }
  }
  Guarded(Guarded&& other) noexcept
      : device_(other.device_),
        bytes_(other.bytes_),
        total_(other.total_),
        memory_(std::exchange(other.memory_, nullptr)) {}
  Guarded& operator=(Guarded&&) = delete;
  ~Guarded() {
    if (memory_ == nullptr) return;
    unpoison();
    device_->release(memory_);
  }

  std::byte* data() const { return memory_ + kGuard; }
  size_t bytes() const { return bytes_; }
  void put(const std::byte* host) { device_->copy_to(data(), host, bytes_); }
  std::vector<std::byte> get() const {
    std::vector<std::byte> host(bytes_);
    device_->copy_from(host.data(), data(), bytes_);
    return host;
  }
  bool is_intact() const {
    unpoison();
    std::vector<std::byte> all(total_);
    device_->copy_from(all.data(), memory_, total_);
    for (size_t i = 0; i < total_; ++i) {
      const bool is_guard = i < kGuard || i >= kGuard + bytes_;
      if (is_guard && all[i] != std::byte{kMark}) return false;
    }
    return true;
  }

 private:
  void unpoison() const {
    if (device_->has_host_memory()) ASAN_UNPOISON_MEMORY_REGION(memory_, total_);
  }

  static constexpr size_t kGuard = 256;
  static constexpr unsigned char kMark = 0xA5;
  TestDevice* device_;
  size_t bytes_, total_;
  std::byte* memory_;
};

template <typename T>
void store_as(const RefTensor& t, std::byte* to) {
  for (int64_t i = 0; i < t.elems(); ++i) {
    const T value = static_cast<T>(t[i]);
    std::memcpy(to + static_cast<size_t>(i) * sizeof(T), &value, sizeof(T));
  }
}

int64_t bytes_of(const RefTensor& t) { return t.elems() * dtype_bytes(t.dtype); }

std::vector<std::byte> stored(const RefTensor& t) {
  std::vector<std::byte> bytes(static_cast<size_t>(bytes_of(t)));
  store(t, bytes.data());
  return bytes;
}

Operand operand_of(const RefTensor& t) {
  Operand operand{};
  operand.rank = t.present ? t.shape.rank() : -1;
  operand.dtype = static_cast<int32_t>(t.dtype);
  for (int i = 0; i < operand.rank; ++i) operand.dims[i] = t.shape[i];
  return operand;
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
  TestDevice& device = options.device != nullptr ? *options.device : cpu_device();
  const StepBlock block{step.context.seed,  step.context.step, step.context.lr, 0,
                        step.context.first, step.context.epoch};
  StepArgs args{};
  args.in = in.data();
  args.out = out.data();
  args.in_count = static_cast<int32_t>(in.size());
  args.out_count = static_cast<int32_t>(out.size());
  args.params = step.params.data();

  // Planning happens while all data pointers are null.
  device.enter();
  if (const char* reason = implementation.supports(args)) {
    // A rule that was broken on the way to a refusal is no refusal.
    result.failure = device.last_error();
    if (!result.failure.empty()) return result;
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
    in_memory.emplace_back(device, in[i].present() ? bytes_of(step.in[i]) : 0);
    if (!in[i].present()) continue;
    in_memory[i].put(stored(step.in[i]).data());
    in[i].data = in_memory[i].data();
  }
  for (size_t i = 0; i < out.size(); ++i) {
    out_memory.emplace_back(device, out[i].present() ? bytes_of(step.want[i]) : 0);
    if (out[i].present()) out[i].data = out_memory[i].data();
  }
  std::vector<bool> is_overwritten(in.size(), false);
  for (const auto& [from, to] : options.in_place) {
    out[static_cast<size_t>(to)].data = in[static_cast<size_t>(from)].data;
    is_overwritten[static_cast<size_t>(from)] = true;
  }
  const Guarded workspace(device, args.workspace_bytes);
  args.workspace = workspace.data();
  Guarded block_memory(device, sizeof block);
  block_memory.put(reinterpret_cast<const std::byte*>(&block));
  args.block = reinterpret_cast<const StepBlock*>(block_memory.data());

  const int status = device.run(implementation, args, options.threads);
  if (status != 0) {
    result.failure = fmt::format("launch returned {} {}", status, device.last_error());
    return result;
  }
  if (!workspace.is_intact()) {
    result.failure = fmt::format("wrote outside the workspace of {} bytes", args.workspace_bytes);
  }
  for (size_t i = 0; i < in.size(); ++i) {
    if (!in_memory[i].is_intact()) result.failure = fmt::format("wrote outside input {}", i);
    if (!in[i].present() || is_overwritten[i]) continue;
    if (in_memory[i].get() != stored(step.in[i])) {
      result.failure = fmt::format("changed input {}", i);
    }
  }
  for (size_t i = 0; i < out.size(); ++i) {
    if (!out_memory[i].is_intact()) result.failure = fmt::format("wrote outside output {}", i);
    result.out.emplace_back();
    if (!out[i].present()) continue;
    result.out.back().resize(static_cast<size_t>(bytes_of(step.want[i])));
    device.copy_from(result.out.back().data(), out[i].as<std::byte>(), result.out.back().size());
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
    } else if (like.dtype == DType::u8) {
      t[i] = std::to_integer<int>(bytes[at]);
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
