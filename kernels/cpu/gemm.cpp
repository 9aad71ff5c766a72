// SPDX-License-Identifier: Apache-2.0
// gemm() over OpenBLAS, and what it takes to call each kind of OpenBLAS from our own threads:
//
//   pthreads  the thread count is process-wide: BlasSingleThread sets it to one and back.
//   OpenMP    the count is a variable of each thread (omp_set_num_threads), and a thread that is
//   not
//             OpenMP's own would start a team: gemm() sets it to one round each call, in its
//             thread.
//   serial    safe from several threads only where it was built with locking, which cannot be asked
//             of a library that is there: calls are taken one at a time. Correct, but conv and
//             linear layers then do not gain from threads.
#include "kernels/cpu/gemm.h"

#include <cblas.h>
#include <dlfcn.h>

#include <mutex>

namespace tanul::cpu {

namespace {

// What openblas_get_parallel() returns.
enum class BlasKind { serial = 0, pthreads = 1, openmp = 2 };

BlasKind blas_kind() {
  static const BlasKind kind = static_cast<BlasKind>(openblas_get_parallel());
  return kind;
}

// OpenMP's own functions, from the runtime that OpenBLAS brought along; we do not link one.
struct OpenMp {
  int (*get_max_threads)() = nullptr;
  void (*set_num_threads)(int) = nullptr;

  OpenMp() {
    get_max_threads = reinterpret_cast<int (*)()>(dlsym(RTLD_DEFAULT, "omp_get_max_threads"));
    set_num_threads = reinterpret_cast<void (*)(int)>(dlsym(RTLD_DEFAULT, "omp_set_num_threads"));
  }
};

class OpenMpSingleThread {
 public:
  OpenMpSingleThread() {
    if (functions().get_max_threads == nullptr || functions().set_num_threads == nullptr) return;
    before_ = functions().get_max_threads();
    functions().set_num_threads(1);
  }
  ~OpenMpSingleThread() {
    if (before_ > 0) functions().set_num_threads(before_);
  }
  OpenMpSingleThread(const OpenMpSingleThread&) = delete;
  OpenMpSingleThread& operator=(const OpenMpSingleThread&) = delete;

 private:
  static const OpenMp& functions() {
    static const OpenMp open_mp;
    return open_mp;
  }
  int before_ = 0;
};

// The scopes of the process.
struct Scopes {
  std::mutex mutex;
  int open = 0;
  int threads_before = 0;
};

Scopes& scopes() {
  static Scopes all;
  return all;
}

std::mutex& serial_mutex() {
  static std::mutex mutex;
  return mutex;
}

}  // namespace

void gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha,
          const float* a, int64_t lda, const float* b, int64_t ldb, float beta, float* c,
          int64_t ldc) {
  const auto call = [&] {
    cblas_sgemm(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans,
                transpose_b ? CblasTrans : CblasNoTrans, static_cast<blasint>(m),
                static_cast<blasint>(n), static_cast<blasint>(k), alpha, a,
                static_cast<blasint>(lda), b, static_cast<blasint>(ldb), beta, c,
                static_cast<blasint>(ldc));
  };
  switch (blas_kind()) {
    case BlasKind::pthreads: call(); break;
    case BlasKind::openmp: {
      const OpenMpSingleThread single;
      call();
      break;
    }
    case BlasKind::serial: {
      const std::lock_guard lock(serial_mutex());
      call();
      break;
    }
  }
}

BlasSingleThread::BlasSingleThread() {
  if (blas_kind() != BlasKind::pthreads) return;
  Scopes& all = scopes();
  const std::lock_guard lock(all.mutex);
  if (all.open++ > 0) return;
  all.threads_before = openblas_get_num_threads();
  if (all.threads_before != 1) openblas_set_num_threads(1);
}

BlasSingleThread::~BlasSingleThread() {
  if (blas_kind() != BlasKind::pthreads) return;
  Scopes& all = scopes();
  const std::lock_guard lock(all.mutex);
  if (--all.open > 0) return;
  if (all.threads_before != 1) openblas_set_num_threads(all.threads_before);
}

std::string blas_description() {
  std::string text = openblas_get_config();
  while (!text.empty() && text.back() == ' ') text.pop_back();
  switch (blas_kind()) {
    case BlasKind::serial: return text + ", serial (calls are taken one at a time)";
    case BlasKind::pthreads: return text + ", pthreads";
    case BlasKind::openmp: return text + ", OpenMP";
  }
  return text;
}

}  // namespace tanul::cpu
