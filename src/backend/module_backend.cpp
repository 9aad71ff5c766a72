// SPDX-License-Identifier: Apache-2.0
#include "backend/module_backend.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/format.h"

namespace tanul {

namespace {

constexpr int64_t kSmallestPinned = 4096;
constexpr int64_t kLargestPiece = int64_t{16} << 20;  // of a copy that is made in pieces

}  // namespace

class ModuleBackend::Graph : public Recording {
 public:
  Graph(ModuleBackend& backend, ModuleGraph* graph) : backend_(backend), graph_(graph) {}
  ~Graph() override {
    // What still runs may be this graph.
    backend_.module_.synchronize(backend_.device_, backend_.stream_);
    backend_.module_.destroy_graph(backend_.device_, graph_);
  }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  ModuleGraph* graph() const { return graph_; }

 private:
  ModuleBackend& backend_;
  ModuleGraph* graph_;
};

ModuleBackend::ModuleBackend(const BackendModule& module, int index)
    : module_(module), index_(index) {
  ModuleDeviceInfo info;
  check(module_.device_info(&module_, index, &info));
  name_ = info.name;
  check(module_.open(&module_, index, &device_));
  try {
    check(module_.create_stream(device_, &stream_));
  } catch (...) {
    free_all();
    throw;
  }
}

ModuleBackend::~ModuleBackend() { free_all(); }

// Nothing here may fail loudly; what the device does not give back now, it does when the process ends.
void ModuleBackend::free_all() noexcept {
  if (stream_ != nullptr) module_.synchronize(device_, stream_);
  for (PinnedPair& pair : pinned_) {
    for (Pinned& slot : pair.slots) {
      if (slot.event != nullptr) module_.destroy_event(device_, slot.event);
      if (slot.memory != nullptr) module_.release_pinned(device_, slot.memory);
    }
  }
  pinned_.clear();
  if (stream_ != nullptr) module_.destroy_stream(device_, stream_);
  stream_ = nullptr;
  module_.close(device_);
}

void ModuleBackend::check(int status) const {
  if (status != 0) fail(Code::device, "cuda:{}: {}", index_, module_.last_error(&module_));
}

std::string ModuleBackend::description() const { return fmt::format("cuda:{}: {}", index_, name_); }

// What they support may depend on the device, which is the thread's from here on.
const ImplementationList& ModuleBackend::implementations(OpKind kind) const {
  check(module_.enter(device_));
  return *module_.implementations(&module_, static_cast<int32_t>(kind));
}

// --- memory ---------------------------------------------------------------------------------------

int64_t ModuleBackend::free_bytes() const {
  int64_t bytes = 0;
  check(module_.free_bytes(device_, &bytes));
  return bytes;
}

void* ModuleBackend::allocate(int64_t bytes) {
  void* memory = nullptr;
  const int64_t asked = std::max<int64_t>(bytes, 1);
  const int status = module_.allocate(device_, &memory, asked);
  if (status != 0 && module_.is_out_of_memory(&module_, status) != 0) {
    const std::string why = module_.last_error(&module_);
    int64_t free = 0;
    const bool is_known = module_.free_bytes(device_, &free) == 0;
    fail(Code::out_of_memory, "cuda:{}: the plan needs {} bytes{}: {}", index_, bytes,
         is_known ? fmt::format(" and {} are free", free) : "", why);
  }
  check(status);
  if (const int e = module_.fill_zero(device_, memory, asked, stream_)) {
    const std::string why = module_.last_error(&module_);
    module_.release(device_, memory);
    fail(Code::device, "cuda:{}: {}", index_, why);
  }
  count(bytes);
  return memory;
}

void ModuleBackend::release(void* memory, int64_t bytes) noexcept {
  module_.synchronize(device_, stream_);
  module_.release(device_, memory);
  count(-bytes);
}

ModuleBackend::PinnedPair& ModuleBackend::pinned_of(int64_t bytes) {
  const auto size =
      static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(std::max(bytes, kSmallestPinned))));
  for (PinnedPair& pair : pinned_) {
    if (pair.bytes == size) return pair;
  }
  // Both slots at once: nothing is allocated in later steps. What fails half way is freed at the end.
  PinnedPair& pair = pinned_.emplace_back(PinnedPair{size, {}, 0});
  try {
    for (Pinned& slot : pair.slots) {
      check(module_.allocate_pinned(device_, &slot.memory, size));
      check(module_.create_event(device_, 0, &slot.event));
    }
  } catch (...) {
    for (Pinned& slot : pair.slots) {
      if (slot.event != nullptr) module_.destroy_event(device_, slot.event);
      if (slot.memory != nullptr) module_.release_pinned(device_, slot.memory);
    }
    pinned_.pop_back();
    throw;
  }
  return pair;
}

ModuleBackend::Pinned& ModuleBackend::slot_of(int64_t bytes) {
  PinnedPair& pair = pinned_of(bytes);
  Pinned& slot = pair.slots[pair.next];
  pair.next = 1 - pair.next;
  if (slot.is_pending) check(module_.synchronize_event(device_, slot.event));
  slot.is_pending = false;
  return slot;
}

void ModuleBackend::queue_copy(void* device, Pinned& slot, int64_t bytes) {
  check(module_.copy(device_, device, slot.memory, bytes, ModuleCopy::to_device, stream_));
  slot.is_pending = true;
  check(module_.record(device_, slot.event, stream_));
}

void* ModuleBackend::begin_write(void*, int64_t bytes) {
  writing_ = &slot_of(bytes);
  return writing_->memory;
}

void ModuleBackend::end_write(void* device, int64_t bytes) {
  if (writing_ == nullptr) fail(Code::internal, "end_write without begin_write");
  Pinned& slot = *writing_;
  writing_ = nullptr;
  if (bytes > 0) queue_copy(device, slot, bytes);
}

void ModuleBackend::copy_in(void* device, const void* host, int64_t bytes) {
  auto* to = static_cast<std::byte*>(device);
  const auto* from = static_cast<const std::byte*>(host);
  for (int64_t at = 0; at < bytes; at += kLargestPiece) {
    const int64_t piece = std::min(kLargestPiece, bytes - at);
    Pinned& slot = slot_of(piece);
    std::memcpy(slot.memory, from + at, static_cast<size_t>(piece));
    queue_copy(to + at, slot, piece);
  }
}

void ModuleBackend::copy_out(void* host, const void* device, int64_t bytes) {
  auto* to = static_cast<std::byte*>(host);
  const auto* from = static_cast<const std::byte*>(device);
  for (int64_t at = 0; at < bytes; at += kLargestPiece) {
    const int64_t piece = std::min(kLargestPiece, bytes - at);
    Pinned& slot = slot_of(piece);
    check(module_.copy(device_, slot.memory, from + at, piece, ModuleCopy::to_host, stream_));
    check(module_.synchronize(device_, stream_));
    std::memcpy(to + at, slot.memory, static_cast<size_t>(piece));
  }
}

// --- steps ----------------------------------------------------------------------------------------

void ModuleBackend::begin_step() { check(module_.enter(device_)); }

void ModuleBackend::synchronize() { check(module_.synchronize(device_, stream_)); }

std::string ModuleBackend::status_text(int status) const {
  return module_.describe(&module_, status);
}

void ModuleBackend::begin_recording() { check(module_.begin_capture(device_, stream_)); }

std::unique_ptr<Recording> ModuleBackend::end_recording() {
  ModuleGraph* graph = nullptr;
  check(module_.end_capture(device_, stream_, &graph));
  return std::make_unique<Graph>(*this, graph);
}

void ModuleBackend::drop_recording() noexcept { module_.end_capture(device_, stream_, nullptr); }

void ModuleBackend::replay(Recording& recording) {
  check(module_.launch_graph(device_, static_cast<Graph&>(recording).graph(), stream_));
}

}  // namespace tanul
