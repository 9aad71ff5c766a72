// SPDX-License-Identifier: Apache-2.0
// The switch between two stacks: a few instructions on x86-64, where swapcontext would call the kernel
// each time; swapcontext elsewhere.
#include "emulation/fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#else
inline void __sanitizer_start_switch_fiber(void**, const void*, size_t) {}
inline void __sanitizer_finish_switch_fiber(void*, const void**, size_t*) {}
#endif

#if defined(__x86_64__)
// Saves what a function has to keep (System V ABI) on the stack, leaves the stack pointer in *save, takes
// up that of `load`.
extern "C" void tanul_switch_stack(void** save, void* load);
asm(R"(
.text
.globl tanul_switch_stack
.hidden tanul_switch_stack
.type tanul_switch_stack,@function
tanul_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size tanul_switch_stack, .-tanul_switch_stack
)");
#else
#include <ucontext.h>
#endif

namespace tanul::cuda::emulation {

namespace {

constexpr size_t kPage = 4096;
#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kStackBytes = 256 * 1024;  // its frames are larger
#else
constexpr size_t kStackBytes = 64 * 1024;
#endif

Fiber* entering = nullptr;  // whose first resume() is under way

}  // namespace

Fiber::Fiber(void (*body)(Fiber& self, void* argument), void* argument)
    : body_(body), argument_(argument) {
  void* memory = mmap(nullptr, kPage + kStackBytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  mprotect(memory, kPage, PROT_NONE);
  memory_ = static_cast<std::byte*>(memory);
#if defined(__x86_64__)
  // As tanul_switch_stack leaves it: six registers, where to return to, and the zero that ends a
  // backtrace. Behind `ret` the stack has to be 8 above a multiple of 16, as behind a call.
  auto* top = reinterpret_cast<uintptr_t*>(memory_ + kPage + kStackBytes);
  *--top = 0;
  *--top = reinterpret_cast<uintptr_t>(&Fiber::enter);
  for (int i = 0; i < 6; ++i) *--top = 0;
  inside_ = top;
#else
  auto* contexts = new ucontext_t[2];
  getcontext(&contexts[0]);
  contexts[0].uc_stack.ss_sp = memory_ + kPage;
  contexts[0].uc_stack.ss_size = kStackBytes;
  makecontext(&contexts[0], &Fiber::enter, 0);
  inside_ = &contexts[0];
  outside_ = &contexts[1];
#endif
}

Fiber::~Fiber() {
#if !defined(__x86_64__)
  delete[] static_cast<ucontext_t*>(inside_);
#endif
  munmap(memory_, kPage + kStackBytes);
}

void Fiber::enter() {
  Fiber& self = *entering;
  __sanitizer_finish_switch_fiber(nullptr, &self.outside_bottom_, &self.outside_bytes_);
  self.body_(self, self.argument_);
}

void Fiber::resume() {
  entering = this;
  __sanitizer_start_switch_fiber(&fake_outside_, memory_ + kPage, kStackBytes);
#if defined(__x86_64__)
  tanul_switch_stack(&outside_, inside_);
#else
  swapcontext(static_cast<ucontext_t*>(outside_), static_cast<ucontext_t*>(inside_));
#endif
  __sanitizer_finish_switch_fiber(fake_outside_, nullptr, nullptr);
}

void Fiber::suspend() {
  __sanitizer_start_switch_fiber(&fake_inside_, outside_bottom_, outside_bytes_);
#if defined(__x86_64__)
  tanul_switch_stack(&inside_, outside_);
#else
  swapcontext(static_cast<ucontext_t*>(inside_), static_cast<ucontext_t*>(outside_));
#endif
  __sanitizer_finish_switch_fiber(fake_inside_, &outside_bottom_, &outside_bytes_);
}

}  // namespace tanul::cuda::emulation
