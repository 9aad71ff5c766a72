// SPDX-License-Identifier: Apache-2.0
// A function with a stack of its own, which may be left in its middle and entered again. All fibers are
// resumed by one thread at a time.
#pragma once

#include <cstddef>

namespace tanul::cuda::emulation {

class Fiber {
 public:
  // `body` never returns: it calls suspend() where it has nothing left to do. It must not let an
  // exception out.
  Fiber(void (*body)(Fiber& self, void* argument), void* argument);
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  void resume();   // from outside: runs until suspend()
  void suspend();  // from inside: goes on behind resume()

 private:
  static void enter();

  void (*body_)(Fiber& self, void* argument);
  void* argument_;
  std::byte* memory_;            // a guard page, then the stack
  void* inside_;                 // stack pointer while suspended, or the context
  void* outside_;                // of who resumed it
  void* fake_inside_ = nullptr;  // AddressSanitizer's
  void* fake_outside_ = nullptr;
  const void* outside_bottom_ = nullptr;
  size_t outside_bytes_ = 0;
};

}  // namespace tanul::cuda::emulation
