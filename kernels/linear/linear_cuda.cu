// SPDX-License-Identifier: Apache-2.0
// Fully connected layer on CUDA: each of the three products is one call of cuBLASLt where that is found
// (linear_cublaslt.h), of kernels/cuda/gemm.h ("gemm"), or of kernels/cuda/tensor_gemm.h where the plan
// allows operands of fewer bits ("mma"). "atomic": a gradient whose split sums are added as they end.
//
//   fwd          y  [N, K] = act(x [N, C] w [K, C]^T + b): bias and activation while the sums are in
//                registers
//   bwd_data     dx [N, C] = dy [N, K] w [K, C]
//   bwd_weights  dw [K, C] = dy [N, K]^T x [N, C], db = dy^T 1: x has a column of ones behind its last
//
// 2 N K C flops each; meets the arithmetic roof unless N is small, then the bytes of w: products with
// few tiles are split along their depth until all multiprocessors have work.
// Numerics and determinism: see gemm.h and tensor_gemm.h; bias and activation are fp32.
#include <iterator>

#include "kernels/cuda/fused_activation.h"
#include "kernels/cuda/gemm.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/tensor_gemm.h"
#include "kernels/linear/linear.h"
#include "kernels/linear/linear_cublaslt.h"

namespace tanul {

namespace {

using cuda::gemm::ColumnMajor;
using cuda::gemm::MatrixOut;
using cuda::gemm::RowMajor;
using cuda::gemm::Schedule;
using cuda::gemm::Splits;
using cuda::gemm::Tile64x64;

// y = act(sum + b)
template <typename Index>
struct ForwardOut {
  MatrixOut<Index> y;
  const float* b;  // [K], may be null
  ActivationKind activation;

  __device__ float finish(float sum, Index column) const {
    const float bias = b != nullptr && column < y.columns ? b[column] : 0.0f;
    return cuda::activate(activation, sum + bias);
  }
  __device__ void store(Index row, Index column, float4 v) const {
    y.store(row, column,
            make_float4(finish(v.x, column), finish(v.y, column + 1), finish(v.z, column + 2),
                        finish(v.w, column + 3)));
  }
};

// One product. `columns` counts a column of ones of b too.
template <typename Index_, class A, class B, class Out>
struct Product {
  using Index = Index_;
  using ReadsPlaceAgain = void;
  A operand_a;
  B operand_b;
  Out result;
  Index wide, deep;

  __device__ Index columns(int) const { return wide; }
  __device__ Index depth(int) const { return deep; }
  __device__ const A& a(int) const { return operand_a; }
  __device__ const B& b(int) const { return operand_b; }
  __device__ const Out& out(int) const { return result; }
};

// The extents of the product that a step is.
struct Extents {
  int64_t rows, columns, depth;
};

template <typename Index>
RowMajor<Index> row_major(const Operand& matrix) {
  return {matrix.as<float>(), static_cast<Index>(matrix.dims[0]),
          static_cast<Index>(matrix.dims[1]), cuda::gemm::has_vectors(matrix.data, matrix.dims[1])};
}
template <typename Index>
ColumnMajor<Index> column_major(const Operand& matrix, bool has_ones) {
  return {matrix.as<float>(), static_cast<Index>(matrix.dims[1]),
          static_cast<Index>(matrix.dims[0]), static_cast<Index>(has_ones ? matrix.dims[1] : -1),
          cuda::gemm::has_vectors(matrix.data, matrix.dims[1])};
}
template <typename Index>
MatrixOut<Index> matrix_out(const Operand& matrix, float* last) {
  return {matrix.as<float>(), last, static_cast<Index>(matrix.dims[0]),
          static_cast<Index>(matrix.dims[1]), cuda::gemm::has_vectors(matrix.data, matrix.dims[1])};
}

struct Forward {
  using Library = linear_cublaslt::Forward;
  static Extents extents(const StepArgs& args) {
    return {args.in[0].dims[0], args.in[1].dims[0], args.in[0].dims[1]};
  }
  template <typename Index>
  static auto product(const StepArgs& args) {
    const Extents e = extents(args);
    const float* b = args.in_count > 2 && args.in[2].present() ? args.in[2].as<float>() : nullptr;
    const ForwardOut<Index> out{matrix_out<Index>(args.out[0], nullptr), b,
                                args.params_as<LinearParams>().activation};
    return Product<Index, RowMajor<Index>, RowMajor<Index>, ForwardOut<Index>>{
        row_major<Index>(args.in[0]), row_major<Index>(args.in[1]), out,
        static_cast<Index>(e.columns), static_cast<Index>(e.depth)};
  }
};

struct BackwardData {
  using Library = linear_cublaslt::BackwardData;
  static Extents extents(const StepArgs& args) {
    return {args.in[0].dims[0], args.in[1].dims[1], args.in[0].dims[1]};
  }
  template <typename Index>
  static auto product(const StepArgs& args) {
    const Extents e = extents(args);
    return Product<Index, RowMajor<Index>, ColumnMajor<Index>, MatrixOut<Index>>{
        row_major<Index>(args.in[0]), column_major<Index>(args.in[1], false),
        matrix_out<Index>(args.out[0], nullptr), static_cast<Index>(e.columns),
        static_cast<Index>(e.depth)};
  }
};

struct BackwardWeights {
  using Library = linear_cublaslt::BackwardWeights;
  // With the column of db, whether it is wanted or not: dw has the same bits.
  static Extents extents(const StepArgs& args) {
    return {args.in[1].dims[1], args.in[0].dims[1] + 1, args.in[0].dims[0]};
  }
  template <typename Index>
  static auto product(const StepArgs& args) {
    const Extents e = extents(args);
    const int64_t columns = e.columns - (args.out[1].present() ? 0 : 1);
    float* db = args.out[1].present() ? args.out[1].as<float>() : nullptr;
    return Product<Index, ColumnMajor<Index>, ColumnMajor<Index>, MatrixOut<Index>>{
        column_major<Index>(args.in[1], false),
        column_major<Index>(args.in[0], args.out[1].present()), matrix_out<Index>(args.out[0], db),
        static_cast<Index>(columns), static_cast<Index>(e.depth)};
  }
};

template <class Step, class Tile>
Schedule schedule_of(const StepArgs& args) {
  const Extents e = Step::extents(args);
  return cuda::gemm::make_schedule<Tile>(e.rows, e.columns, e.depth, 1);
}

template <class Step, class Tile, typename Index>
int launch_linear(Stream* stream, const StepArgs& args) {
  return cuda::gemm::launch_gemm<Tile>(stream, Step::template product<Index>(args),
                                       schedule_of<Step, Tile>(args), args.workspace);
}
template <class Step, class Tile, class Part>
int launch_linear_atomic(Stream* stream, const StepArgs& args) {
  return cuda::gemm::launch_gemm<Tile, Part, Splits::as_they_end>(
      stream, Step::template product<int32_t>(args), schedule_of<Step, Tile>(args), nullptr);
}

template <class Step, class Tile>
int64_t workspace_linear(const StepArgs& args, int) {
  return schedule_of<Step, Tile>(args).partial_bytes();
}

template <class Step>
const char* supports_large_tiles(const StepArgs& args) {
  const Extents e = Step::extents(args);
  return cuda::gemm::why_not_large_tiles(e.rows, e.columns, e.depth, 1);
}
template <class Step>
const char* supports_32_bit(const StepArgs& args) {
  const Extents e = Step::extents(args);
  return cuda::gemm::why_not_32_bit({e.rows, e.columns, e.depth});
}

// Gradients alone: bias and activation follow when a sum is whole.
template <class Step>
const char* supports_atomic(const StepArgs& args) {
  const char* reason = supports_32_bit<Step>(args);
  return reason != nullptr ? reason
                           : cuda::gemm::why_not_as_they_end(schedule_of<Step, Tile64x64>(args));
}
template <class Step>
constexpr Implementation gemm_atomic(const char* name) {
  Implementation made{name, supports_atomic<Step>, no_workspace,
                      launch_linear_atomic<Step, Tile64x64, cuda::gemm::Fragment<Tile64x64>>};
  made.is_deterministic = false;
  return made;
}

// ---- on tensor cores

// Calls body(tile) with the tile of a step.
template <class Step, class Format, typename Body>
auto with_tile(const StepArgs& args, const Body& body) {
  const Extents e = Step::extents(args);
  return cuda::gemm::with_tensor_tile<Format>(e.rows, e.columns, e.depth, 1, body);
}
template <class Step, class Format>
int launch_mma(Stream* stream, const StepArgs& args) {
  return with_tile<Step, Format>(args, [&](auto tile) {
    using Tile = decltype(tile);
    return cuda::gemm::launch_gemm<Tile, cuda::gemm::TensorFragment<Tile, Format>>(
        stream, Step::template product<int32_t>(args), schedule_of<Step, Tile>(args),
        args.workspace);
  });
}
template <class Step, class Format>
int64_t workspace_mma(const StepArgs& args, int) {
  return with_tile<Step, Format>(
      args, [&](auto tile) { return schedule_of<Step, decltype(tile)>(args).partial_bytes(); });
}

template <class Step, class Format>
constexpr Implementation mma(const char* name) {
  Implementation made{name, supports_32_bit<Step>, workspace_mma<Step, Format>,
                      launch_mma<Step, Format>};
  made.multiplies_in = Format::kPrecision;
  made.least_architecture = cuda::kTensorCoreArchitecture;
  return made;
}

template <class Step, class Format>
const char* supports_mma_atomic(const StepArgs& args) {
  if (const char* reason = supports_32_bit<Step>(args)) return reason;
  return with_tile<Step, Format>(args, [&](auto tile) {
    return cuda::gemm::why_not_as_they_end(schedule_of<Step, decltype(tile)>(args));
  });
}
template <class Step, class Format>
int launch_mma_atomic(Stream* stream, const StepArgs& args) {
  return with_tile<Step, Format>(args, [&](auto tile) {
    using Tile = decltype(tile);
    return launch_linear_atomic<Step, Tile, cuda::gemm::TensorFragment<Tile, Format>>(stream, args);
  });
}
template <class Step, class Format>
constexpr Implementation mma_atomic(const char* name) {
  Implementation made{name, supports_mma_atomic<Step, Format>, no_workspace,
                      launch_mma_atomic<Step, Format>};
  made.multiplies_in = Format::kPrecision;
  made.least_architecture = cuda::kTensorCoreArchitecture;
  made.is_deterministic = false;
  return made;
}

#define TANUL_CUBLASLT(Step, precision, name) \
  linear_cublaslt::cublaslt<typename Step::Library, Precision::precision>(name)
#define TANUL_CUBLASLT_OF_FEWER_BITS(Step)                                                  \
  TANUL_CUBLASLT(Step, tf32, "cublaslt_tf32"), TANUL_CUBLASLT(Step, bf16, "cublaslt_bf16"), \
      TANUL_CUBLASLT(Step, fp16, "cublaslt_fp16")
#define TANUL_MMA(Step)                                                 \
  mma<Step, cuda::Tf32>("mma_tf32"), mma<Step, cuda::Bf16>("mma_bf16"), \
      mma<Step, cuda::Fp16>("mma_fp16")
#define TANUL_MMA_ATOMIC(Step)                         \
  mma_atomic<Step, cuda::Tf32>("mma_tf32_atomic"),     \
      mma_atomic<Step, cuda::Bf16>("mma_bf16_atomic"), \
      mma_atomic<Step, cuda::Fp16>("mma_fp16_atomic")
#define TANUL_GEMM(Step, Tile, Index, supports, name)         \
  {                                                           \
    name, supports, workspace_linear<Step, cuda::gemm::Tile>, \
        launch_linear<Step, cuda::gemm::Tile, Index>          \
  }
#define TANUL_GEMM_LARGE(Step) \
  TANUL_GEMM(Step, Tile128x128, int32_t, supports_large_tiles<Step>, "gemm_128x128")
#define TANUL_GEMM_ANY(Step)                                                 \
  TANUL_GEMM(Step, Tile64x64, int32_t, supports_32_bit<Step>, "gemm_64x64"), \
      TANUL_GEMM(Step, Tile64x64, int64_t, supports_all, "gemm_64_bit")

constexpr Implementation kForward[] = {TANUL_CUBLASLT_OF_FEWER_BITS(Forward), TANUL_MMA(Forward),
                                       TANUL_CUBLASLT(Forward, fp32, "cublaslt"),
                                       TANUL_GEMM_LARGE(Forward), TANUL_GEMM_ANY(Forward)};

template <class Step>
constexpr Implementation kGradients[] = {TANUL_CUBLASLT_OF_FEWER_BITS(Step),
                                         TANUL_MMA_ATOMIC(Step),
                                         TANUL_MMA(Step),
                                         TANUL_CUBLASLT(Step, fp32, "cublaslt"),
                                         TANUL_GEMM_LARGE(Step),
                                         gemm_atomic<Step>("gemm_64x64_atomic"),
                                         TANUL_GEMM_ANY(Step)};

#undef TANUL_GEMM_ANY
#undef TANUL_GEMM_LARGE
#undef TANUL_GEMM
#undef TANUL_MMA_ATOMIC
#undef TANUL_MMA
#undef TANUL_CUBLASLT_OF_FEWER_BITS
#undef TANUL_CUBLASLT

}  // namespace

const ImplementationList cuda_linear_fwd = {kForward, std::size(kForward)};
const ImplementationList cuda_linear_bwd_data = {kGradients<BackwardData>,
                                                 std::size(kGradients<BackwardData>)};
const ImplementationList cuda_linear_bwd_weights = {kGradients<BackwardWeights>,
                                                    std::size(kGradients<BackwardWeights>)};

}  // namespace tanul
