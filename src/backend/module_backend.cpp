// SPDX-License-Identifier: Apache-2.0
#include "backend/module_backend.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "core/format.h"

namespace tanul {

namespace {

constexpr int64_t kSmallestPinned = 4096;
constexpr size_t kSmallSlots = 16;  // of that size: a few for each step that waits
constexpr int64_t kLargestPiece = int64_t{16} << 20;  // of a copy that is made in pieces
// Below it, a copy between two steps takes as long as the events that would avoid it.
constexpr int64_t kLeastStaged = 65536;
constexpr int64_t kStagingShare = 4;  // staging takes at most 1/4 of the memory that is free

// Can it go by put or fetch?
bool is_small(const void* to, const void* from, int64_t bytes) {
  const auto places = reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from);
  return bytes <= kMostSmallBytes && bytes % 4 == 0 && places % 4 == 0 && bytes > 0;
}

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

class ModuleBackend::Read : public Readback {
 public:
  Read(ModuleBackend& backend, int64_t bytes) : backend_(backend) {
    const BackendModule& module = backend.module_;
    const int64_t asked = std::max<int64_t>(bytes, 1);
    backend.check(module.allocate_pinned(backend.device_, &memory_, asked));
    std::memset(memory_, 0, static_cast<size_t>(asked));
    if (module.create_event(backend.device_, 0, &event_) == 0) return;
    const std::string why = module.last_error(&module);
    module.release_pinned(backend.device_, memory_);
    fail(Code::device, "cuda:{}: {}", backend.index_, why);
  }
  ~Read() override {
    // A copy may be under way even where `end` did not come.
    backend_.module_.synchronize(backend_.device_, backend_.stream_);
    backend_.module_.destroy_event(backend_.device_, event_);
    backend_.module_.release_pinned(backend_.device_, memory_);
  }
  Read(const Read&) = delete;
  Read& operator=(const Read&) = delete;

  void copy(int64_t offset, const void* device, int64_t bytes) override {
    const BackendModule& module = backend_.module_;
    std::byte* to = static_cast<std::byte*>(memory_) + offset;
    if (is_small(to, device, bytes)) {
      backend_.check(module.fetch(backend_.device_, to, device, bytes, backend_.stream_));
    } else {
      backend_.check(
          module.copy(backend_.device_, to, device, bytes, ModuleCopy::to_host, backend_.stream_));
    }
  }
  void end() override {
    backend_.check(backend_.module_.record(backend_.device_, event_, backend_.stream_));
    is_pending_ = true;
  }
  const std::byte* wait() override {
    if (is_pending_) backend_.check(backend_.module_.synchronize_event(backend_.device_, event_));
    is_pending_ = false;
    return static_cast<const std::byte*>(memory_);
  }

 private:
  ModuleBackend& backend_;
  void* memory_ = nullptr;
  ModuleEvent* event_ = nullptr;
  bool is_pending_ = false;
};

ModuleBackend::ModuleBackend(const BackendModule& module, int index)
    : module_(module), index_(index) {
  ModuleDeviceInfo info;
  check(module_.device_info(&module_, index, &info));
  name_ = info.name;
  architecture_ = info.architecture;
  check(module_.open(&module_, index, &device_));
  try {
    check(module_.create_stream(device_, &stream_));
    check(module_.create_stream(device_, &input_stream_));
  } catch (...) {
    free_all();
    throw;
  }
}

ModuleBackend::~ModuleBackend() { free_all(); }

// Nothing here may fail loudly; what the device does not give back now, it does when the process ends.
void ModuleBackend::free_all() noexcept {
  if (stream_ != nullptr) module_.synchronize(device_, stream_);
  if (input_stream_ != nullptr) module_.synchronize(device_, input_stream_);
  for (PinnedRing& ring : pinned_) {
    for (Pinned& slot : ring.slots) free_slot(slot);
  }
  pinned_.clear();
  for (Stream** stream : {&input_stream_, &stream_}) {
    if (*stream != nullptr) module_.destroy_stream(device_, *stream);
    *stream = nullptr;
  }
  module_.close(device_);
}

void ModuleBackend::check(int status) const {
  if (status != 0) fail(Code::device, "cuda:{}: {}", index_, module_.last_error(&module_));
}

std::string ModuleBackend::description() const { return fmt::format("cuda:{}: {}", index_, name_); }

// Libraries count: with another version another implementation may be the quickest.
std::string ModuleBackend::identity() const {
  ModuleInfo info;
  check(module_.info(&module_, &info));
  return fmt::format("{}, driver {}, cuBLAS {}, cuDNN {}", name_, info.driver, info.cublas,
                     info.cudnn);
}

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
  keep_error(module_.synchronize(device_, stream_));
  keep_error(module_.release(device_, memory));
  count(-bytes);
}

void ModuleBackend::keep_error(int status) noexcept {
  if (status == 0 || !kept_error_.empty()) return;
  try {
    kept_error_ = module_.last_error(&module_);
  } catch (...) {  // no memory for the text
  }
}

void ModuleBackend::free_slot(Pinned& slot) noexcept {
  if (slot.event != nullptr) module_.destroy_event(device_, slot.event);
  if (slot.taken != nullptr) module_.destroy_event(device_, slot.taken);
  if (slot.memory != nullptr) module_.release_pinned(device_, slot.memory);
  if (slot.staging != nullptr) module_.release(device_, slot.staging);
  slot = {};
}

// What serves speed alone takes no memory that may be needed.
void ModuleBackend::fill_ring(PinnedRing& ring) {
  const int64_t staging = static_cast<int64_t>(ring.slots.size()) * ring.bytes;
  const bool is_staged = ring.is_of_inputs && free_bytes() >= kStagingShare * staging;
  for (Pinned& slot : ring.slots) {
    check(module_.allocate_pinned(device_, &slot.memory, ring.bytes));
    check(module_.create_event(device_, 0, &slot.event));
    if (!is_staged) continue;
    check(module_.allocate(device_, &slot.staging, ring.bytes));
    check(module_.create_event(device_, 0, &slot.taken));
  }
}

ModuleBackend::PinnedRing& ModuleBackend::ring_of(int64_t bytes, bool is_of_inputs) {
  const auto size =
      static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(std::max(bytes, kSmallestPinned))));
  for (PinnedRing& ring : pinned_) {
    if (ring.bytes == size && ring.is_of_inputs == is_of_inputs) return ring;
  }
  // All slots at once: nothing is allocated in later steps.
  const size_t slots = size == kSmallestPinned ? kSmallSlots : 2;
  PinnedRing& ring =
      pinned_.emplace_back(PinnedRing{size, is_of_inputs, std::vector<Pinned>(slots)});
  try {
    fill_ring(ring);
  } catch (...) {
    for (Pinned& slot : ring.slots) free_slot(slot);
    pinned_.pop_back();
    throw;
  }
  return ring;
}

ModuleBackend::Pinned& ModuleBackend::slot_of(int64_t bytes, bool is_of_inputs) {
  PinnedRing& ring = ring_of(bytes, is_of_inputs);
  Pinned& slot = ring.slots[ring.next];
  ring.next = (ring.next + 1) % ring.slots.size();
  if (slot.is_pending) check(module_.synchronize_event(device_, slot.event));
  slot.is_pending = false;
  return slot;
}

void ModuleBackend::queue_copy(void* device, Pinned& slot, int64_t bytes) {
  check(module_.copy(device_, device, slot.memory, bytes, ModuleCopy::to_device, stream_));
  slot.is_pending = true;
  check(module_.record(device_, slot.event, stream_));
}

// Host to staging on the second stream, while the first one is at work; staging to `device` on the first,
// where the steps in front of it have done with what lies there.
void ModuleBackend::queue_staged_copy(void* device, Pinned& slot, int64_t bytes) {
  if (slot.is_taken) check(module_.wait(device_, input_stream_, slot.taken));
  check(module_.copy(device_, slot.staging, slot.memory, bytes, ModuleCopy::to_device,
                     input_stream_));
  slot.is_pending = true;
  check(module_.record(device_, slot.event, input_stream_));
  check(module_.wait(device_, stream_, slot.event));
  check(module_.copy(device_, device, slot.staging, bytes, ModuleCopy::on_device, stream_));
  check(module_.record(device_, slot.taken, stream_));
  slot.is_taken = true;
}

void* ModuleBackend::begin_write(void*, int64_t bytes) {
  writing_ = &slot_of(bytes, bytes >= kLeastStaged);
  return writing_->memory;
}

void ModuleBackend::end_write(void* device, int64_t bytes) {
  if (writing_ == nullptr) fail(Code::internal, "end_write without begin_write");
  Pinned& slot = *writing_;
  writing_ = nullptr;
  if (bytes <= 0) return;
  if (slot.staging != nullptr) {
    queue_staged_copy(device, slot, bytes);
  } else {
    queue_copy(device, slot, bytes);
  }
}

void ModuleBackend::copy_in(void* device, const void* host, int64_t bytes) {
  if (is_small(device, nullptr, bytes)) {
    check(module_.put(device_, device, host, bytes, stream_));
    return;
  }
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

std::unique_ptr<Readback> ModuleBackend::make_readback(int64_t bytes) {
  return std::make_unique<Read>(*this, bytes);
}

// --- steps ----------------------------------------------------------------------------------------

void ModuleBackend::begin_step() {
  if (!kept_error_.empty()) {
    fail(Code::device, "cuda:{}: {}", index_, std::exchange(kept_error_, {}));
  }
  check(module_.enter(device_));
}

void ModuleBackend::synchronize() { check(module_.synchronize(device_, stream_)); }

double ModuleBackend::seconds_of(const std::function<void()>& work) {
  ModuleEvent* events[2] = {};
  float ms = 0;
  const auto drop = [&] {
    for (ModuleEvent* event : events) {
      if (event != nullptr) module_.destroy_event(device_, event);
    }
  };
  try {
    for (ModuleEvent*& event : events) check(module_.create_event(device_, 1, &event));
    check(module_.record(device_, events[0], stream_));
    work();
    check(module_.record(device_, events[1], stream_));
    check(module_.synchronize_event(device_, events[1]));
    check(module_.elapsed(device_, &ms, events[0], events[1]));
  } catch (...) {
    drop();
    throw;
  }
  drop();
  return static_cast<double>(ms) * 1e-3;
}

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
