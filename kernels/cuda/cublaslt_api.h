// SPDX-License-Identifier: Apache-2.0
// The entry points of cuBLASLt that the backend calls, as one narrow table, like api.h for CUDA. The module
// fills it from libcublasLt.so where that is found, tests from a fake. Nothing of cuBLAS is linked, and no
// header of it is needed; library_values.cpp compares the numbers below with the real ones.
// Functions return 0 or a status of cuBLAS.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tanul::cuda::cublaslt {

// Opaque: cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t, cublasLtMatmulPreference_t.
using Handle = void*;
using MatmulDesc = void*;
using MatrixLayout = void*;
using Preference = void*;

struct Algorithm {
  uint64_t data[8];
};
// cublasLtMatmulHeuristicResult_t
struct HeuristicResult {
  Algorithm algorithm;
  size_t workspace_bytes;
  int status;
  float waves;
  int reserved[4];
};

constexpr int kStatusNotSupported = 15;

constexpr int kReal32 = 0;  // cudaDataType
constexpr int kOpTransposed = 1;

// cublasComputeType_t: sums are float32 in all of them; inputs may be rounded as the name says.
constexpr int kCompute32F = 68;
constexpr int kCompute32FFast16F = 74;
constexpr int kCompute32FFast16BF = 75;
constexpr int kCompute32FFastTf32 = 77;

// Attributes of a MatmulDesc, all of 32 bits but the pointer.
constexpr int kDescTransA = 3;
constexpr int kDescTransB = 4;
constexpr int kDescEpilogue = 7;
constexpr int kDescBiasPointer = 8;

constexpr uint32_t kEpilogueDefault = 1;
constexpr uint32_t kEpilogueRelu = 2;
constexpr uint32_t kEpilogueBias = 4;
constexpr uint32_t kEpilogueBiasGradientB =
    512;  // sums over the depth, one for each column of op(B)

// Attributes of a Preference.
constexpr int kPreferenceMaxWorkspaceBytes = 1;  // uint64_t
constexpr int kPreferenceReductionSchemes = 3;   // uint32_t, a mask
constexpr int kPreferenceAlignmentA = 5;         // uint32_t, bytes; B, C and D follow
constexpr int kPreferenceAlignmentD = 8;

// How the parts of a sum that was split are added: all at once behind them. (The one that is left out, in
// place, adds them as they come.)
constexpr uint32_t kReductionInWorkspace = 2 | 4;

struct Api {
  int (*property)(int which, int* value);  // major, minor, patch
  const char* (*status_name)(int status);  // "CUBLAS_STATUS_NOT_SUPPORTED"
  const char* (*status_text)(int status);

  int (*create)(Handle* handle);  // for the calling thread's device
  int (*destroy)(Handle handle);
  int (*create_desc)(MatmulDesc* desc, int compute_type, int scale_type);
  int (*destroy_desc)(MatmulDesc desc);
  int (*set_desc)(MatmulDesc desc, int attribute, const void* value, size_t bytes);
  int (*create_layout)(MatrixLayout* layout, int type, uint64_t rows, uint64_t columns, int64_t ld);
  int (*destroy_layout)(MatrixLayout layout);
  int (*create_preference)(Preference* preference);
  int (*destroy_preference)(Preference preference);
  int (*set_preference)(Preference preference, int attribute, const void* value, size_t bytes);
  int (*heuristics)(Handle handle, MatmulDesc desc, MatrixLayout a, MatrixLayout b, MatrixLayout c,
                    MatrixLayout d, Preference preference, int wanted, HeuristicResult* results,
                    int* found);
  // d = alpha op(a) op(b) + beta c, and the epilogue
  int (*matmul)(Handle handle, MatmulDesc desc, const void* alpha, const void* a,
                MatrixLayout a_layout, const void* b, MatrixLayout b_layout, const void* beta,
                const void* c, MatrixLayout c_layout, void* d, MatrixLayout d_layout,
                const Algorithm* algorithm, void* workspace, size_t workspace_bytes, void* stream);
};

}  // namespace tanul::cuda::cublaslt
