// SPDX-License-Identifier: Apache-2.0
// The numbers of cublaslt_api.h and cudnn_api.h, and the functions of softmax, against the headers of the
// libraries, where those are installed. Nothing here runs.
#include "kernels/cuda/cublaslt_api.h"
#include "kernels/cuda/cudnn_api.h"

#if __has_include(<cublasLt.h>)
#include <cublasLt.h>

namespace tanul::cuda::cublaslt {

static_assert(sizeof(Algorithm) == sizeof(cublasLtMatmulAlgo_t));
static_assert(sizeof(HeuristicResult) == sizeof(cublasLtMatmulHeuristicResult_t));
static_assert(offsetof(HeuristicResult, workspace_bytes) ==
              offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize));
static_assert(offsetof(HeuristicResult, status) ==
              offsetof(cublasLtMatmulHeuristicResult_t, state));
static_assert(offsetof(HeuristicResult, waves) ==
              offsetof(cublasLtMatmulHeuristicResult_t, wavesCount));
static_assert(sizeof(cublasComputeType_t) == sizeof(int) && sizeof(cudaDataType) == sizeof(int) &&
              sizeof(cublasStatus_t) == sizeof(int));

static_assert(kStatusNotSupported == CUBLAS_STATUS_NOT_SUPPORTED);
static_assert(kReal32 == CUDA_R_32F);
static_assert(kOpTransposed == CUBLAS_OP_T);
static_assert(kCompute32F == CUBLAS_COMPUTE_32F);
static_assert(kCompute32FFast16F == CUBLAS_COMPUTE_32F_FAST_16F);
static_assert(kCompute32FFast16BF == CUBLAS_COMPUTE_32F_FAST_16BF);
static_assert(kCompute32FFastTf32 == CUBLAS_COMPUTE_32F_FAST_TF32);
static_assert(kDescTransA == CUBLASLT_MATMUL_DESC_TRANSA);
static_assert(kDescTransB == CUBLASLT_MATMUL_DESC_TRANSB);
static_assert(kDescEpilogue == CUBLASLT_MATMUL_DESC_EPILOGUE);
static_assert(kDescBiasPointer == CUBLASLT_MATMUL_DESC_BIAS_POINTER);
static_assert(kEpilogueDefault == CUBLASLT_EPILOGUE_DEFAULT);
static_assert(kEpilogueRelu == CUBLASLT_EPILOGUE_RELU);
static_assert(kEpilogueBias == CUBLASLT_EPILOGUE_BIAS);
static_assert((kEpilogueRelu | kEpilogueBias) == CUBLASLT_EPILOGUE_RELU_BIAS);
static_assert(kEpilogueBiasGradientB == CUBLASLT_EPILOGUE_BGRADB);
static_assert(kPreferenceMaxWorkspaceBytes == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES);
static_assert(kPreferenceReductionSchemes == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK);
static_assert(kPreferenceAlignmentA == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES);
static_assert(kPreferenceAlignmentA + 1 == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES);
static_assert(kPreferenceAlignmentA + 2 == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES);
static_assert(kPreferenceAlignmentD == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES);
static_assert(kReductionInWorkspace == (uint32_t{CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE} |
                                        uint32_t{CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE}));

}  // namespace tanul::cuda::cublaslt
#endif

#if __has_include(<cudnn_graph.h>)
#include <cudnn_graph.h>

namespace tanul::cuda::cudnn {

constexpr bool is(Kind kind, cudnnBackendDescriptorType_t real) {
  return static_cast<int>(kind) == real;
}
constexpr bool is(Type type, cudnnBackendAttributeType_t real) {
  return static_cast<int>(type) == real;
}
constexpr bool is(Name name, cudnnBackendAttributeName_t real) {
  return static_cast<int>(name) == real;
}

static_assert(kNotSupported == CUDNN_STATUS_NOT_SUPPORTED / 1000);
static_assert(kBadParameter == CUDNN_STATUS_BAD_PARAM / 1000);
static_assert(kCompilationFailed == CUDNN_STATUS_INTERNAL_ERROR_COMPILATION_FAILED);
static_assert(kDataFloat == CUDNN_DATA_FLOAT);
static_assert(kDataHalf == CUDNN_DATA_HALF);
static_assert(kDataBfloat16 == CUDNN_DATA_BFLOAT16);
static_assert(kCrossCorrelation == CUDNN_CROSS_CORRELATION);
static_assert(kHeuristicsA == CUDNN_HEUR_MODE_A);
static_assert(kHeuristicsFallback == CUDNN_HEUR_MODE_FALLBACK);
static_assert(kResampleAverageWithPadding == CUDNN_RESAMPLE_AVGPOOL_INCLUDE_PADDING);
static_assert(kResampleMaximum == CUDNN_RESAMPLE_MAXPOOL);
static_assert(kResampleAverageWithoutPadding == CUDNN_RESAMPLE_AVGPOOL_EXCLUDE_PADDING);
static_assert(kPadWithZero == CUDNN_ZERO_PAD);
static_assert(kPadWithNegativeInfinity == CUDNN_NEG_INF_PAD);
static_assert(kPropagateNan == CUDNN_PROPAGATE_NAN);
static_assert(kNoteTensorCore == static_cast<int>(CUDNN_NUMERICAL_NOTE_TENSOR_CORE));
static_assert(kNoteDownConvertsInputs ==
              static_cast<int>(CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS));
static_assert(kNoteReducedPrecisionReduction ==
              static_cast<int>(CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION));
static_assert(kNoteFft == static_cast<int>(CUDNN_NUMERICAL_NOTE_FFT));
static_assert(kNoteNondeterministic == static_cast<int>(CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC));
static_assert(kNoteWinograd == static_cast<int>(CUDNN_NUMERICAL_NOTE_WINOGRAD));

static_assert(is(Kind::convolution, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR));
static_assert(is(Kind::engine, CUDNN_BACKEND_ENGINE_DESCRIPTOR));
static_assert(is(Kind::engine_config, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR));
static_assert(is(Kind::engine_heuristics, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR));
static_assert(is(Kind::execution_plan, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR));
static_assert(is(Kind::convolution_forward,
                 CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR));
static_assert(is(Kind::convolution_backward_filter,
                 CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR));
static_assert(is(Kind::convolution_backward_data,
                 CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR));
static_assert(is(Kind::operation_graph, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR));
static_assert(is(Kind::variant_pack, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR));
static_assert(is(Kind::tensor, CUDNN_BACKEND_TENSOR_DESCRIPTOR));
static_assert(is(Kind::resample, CUDNN_BACKEND_RESAMPLE_DESCRIPTOR));
static_assert(is(Kind::resample_forward, CUDNN_BACKEND_OPERATION_RESAMPLE_FWD_DESCRIPTOR));
static_assert(is(Kind::resample_backward, CUDNN_BACKEND_OPERATION_RESAMPLE_BWD_DESCRIPTOR));

static_assert(is(Type::handle, CUDNN_TYPE_HANDLE));
static_assert(is(Type::data_type, CUDNN_TYPE_DATA_TYPE));
static_assert(is(Type::int64, CUDNN_TYPE_INT64));
static_assert(is(Type::float32, CUDNN_TYPE_FLOAT));
static_assert(is(Type::pointer, CUDNN_TYPE_VOID_PTR));
static_assert(is(Type::convolution_mode, CUDNN_TYPE_CONVOLUTION_MODE));
static_assert(is(Type::heuristics_mode, CUDNN_TYPE_HEUR_MODE));
static_assert(is(Type::numerical_note, CUDNN_TYPE_NUMERICAL_NOTE));
static_assert(is(Type::descriptor, CUDNN_TYPE_BACKEND_DESCRIPTOR));
static_assert(is(Type::nan_propagation, CUDNN_TYPE_NAN_PROPOGATION));
static_assert(is(Type::resample_mode, CUDNN_TYPE_RESAMPLE_MODE));
static_assert(is(Type::padding_mode, CUDNN_TYPE_PADDING_MODE));

static_assert(is(Name::convolution_compute_type, CUDNN_ATTR_CONVOLUTION_COMP_TYPE));
static_assert(is(Name::convolution_mode, CUDNN_ATTR_CONVOLUTION_CONV_MODE));
static_assert(is(Name::convolution_dilations, CUDNN_ATTR_CONVOLUTION_DILATIONS));
static_assert(is(Name::convolution_strides, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES));
static_assert(is(Name::convolution_post_paddings, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS));
static_assert(is(Name::convolution_pre_paddings, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS));
static_assert(is(Name::convolution_spatial_axes, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS));
static_assert(is(Name::heuristics_mode, CUDNN_ATTR_ENGINEHEUR_MODE));
static_assert(is(Name::heuristics_graph, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH));
static_assert(is(Name::heuristics_results, CUDNN_ATTR_ENGINEHEUR_RESULTS));
static_assert(is(Name::config_engine, CUDNN_ATTR_ENGINECFG_ENGINE));
static_assert(is(Name::plan_handle, CUDNN_ATTR_EXECUTION_PLAN_HANDLE));
static_assert(is(Name::plan_config, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG));
static_assert(is(Name::plan_workspace_bytes, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE));
static_assert(is(Name::forward_alpha, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA));
static_assert(is(Name::forward_beta, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA));
static_assert(is(Name::forward_convolution, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC));
static_assert(is(Name::forward_w, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W));
static_assert(is(Name::forward_x, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X));
static_assert(is(Name::forward_y, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y));
static_assert(is(Name::data_alpha, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA));
static_assert(is(Name::data_beta, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA));
static_assert(is(Name::data_convolution, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC));
static_assert(is(Name::data_w, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W));
static_assert(is(Name::data_dx, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX));
static_assert(is(Name::data_dy, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY));
static_assert(is(Name::filter_alpha, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA));
static_assert(is(Name::filter_beta, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA));
static_assert(is(Name::filter_convolution, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC));
static_assert(is(Name::filter_dw, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW));
static_assert(is(Name::filter_x, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X));
static_assert(is(Name::filter_dy, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY));
static_assert(is(Name::graph_handle, CUDNN_ATTR_OPERATIONGRAPH_HANDLE));
static_assert(is(Name::graph_operations, CUDNN_ATTR_OPERATIONGRAPH_OPS));
static_assert(is(Name::tensor_alignment, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT));
static_assert(is(Name::tensor_data_type, CUDNN_ATTR_TENSOR_DATA_TYPE));
static_assert(is(Name::tensor_extents, CUDNN_ATTR_TENSOR_DIMENSIONS));
static_assert(is(Name::tensor_strides, CUDNN_ATTR_TENSOR_STRIDES));
static_assert(is(Name::tensor_id, CUDNN_ATTR_TENSOR_UNIQUE_ID));
static_assert(is(Name::pack_ids, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS));
static_assert(is(Name::pack_pointers, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS));
static_assert(is(Name::pack_workspace, CUDNN_ATTR_VARIANT_PACK_WORKSPACE));
static_assert(is(Name::engine_notes, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE));
static_assert(is(Name::resample_mode, CUDNN_ATTR_RESAMPLE_MODE));
static_assert(is(Name::resample_compute_type, CUDNN_ATTR_RESAMPLE_COMP_TYPE));
static_assert(is(Name::resample_spatial_axes, CUDNN_ATTR_RESAMPLE_SPATIAL_DIMS));
static_assert(is(Name::resample_post_paddings, CUDNN_ATTR_RESAMPLE_POST_PADDINGS));
static_assert(is(Name::resample_pre_paddings, CUDNN_ATTR_RESAMPLE_PRE_PADDINGS));
static_assert(is(Name::resample_strides, CUDNN_ATTR_RESAMPLE_STRIDES));
static_assert(is(Name::resample_windows, CUDNN_ATTR_RESAMPLE_WINDOW_DIMS));
static_assert(is(Name::resample_nan, CUDNN_ATTR_RESAMPLE_NAN_PROPAGATION));
static_assert(is(Name::resample_padding_mode, CUDNN_ATTR_RESAMPLE_PADDING_MODE));
static_assert(is(Name::resample_x, CUDNN_ATTR_OPERATION_RESAMPLE_FWD_XDESC));
static_assert(is(Name::resample_y, CUDNN_ATTR_OPERATION_RESAMPLE_FWD_YDESC));
static_assert(is(Name::resample_forward_windows, CUDNN_ATTR_OPERATION_RESAMPLE_FWD_DESC));
static_assert(is(Name::resample_dx, CUDNN_ATTR_OPERATION_RESAMPLE_BWD_DXDESC));
static_assert(is(Name::resample_dy, CUDNN_ATTR_OPERATION_RESAMPLE_BWD_DYDESC));
static_assert(is(Name::resample_backward_windows, CUDNN_ATTR_OPERATION_RESAMPLE_BWD_DESC));

}  // namespace tanul::cuda::cudnn
#endif

#if __has_include(<cudnn_ops.h>)
#include <cudnn_ops.h>

#include <type_traits>

namespace tanul::cuda::cudnn {

static_assert(kTensorNchw == CUDNN_TENSOR_NCHW);
static_assert(kSoftmaxAccurate == CUDNN_SOFTMAX_ACCURATE);
static_assert(kSoftmaxLogarithm == CUDNN_SOFTMAX_LOG);
static_assert(kSoftmaxOverChannels == CUDNN_SOFTMAX_MODE_CHANNEL);

// The type of the table for a parameter of the real function: an int for an enumeration, void* for a handle.
template <typename T>
using InTable = std::conditional_t<
    std::is_enum_v<T>, int,
    std::conditional_t<
        std::is_same_v<T, cudnnHandle_t> || std::is_same_v<T, cudnnTensorDescriptor_t>, void*,
        std::conditional_t<std::is_same_v<T, cudnnTensorDescriptor_t*>, void**, T>>>;
template <typename Result, typename... P>
constexpr bool fits(int (*)(InTable<P>...), Result (*)(P...)) {
  return std::is_enum_v<Result> && sizeof(Result) == sizeof(int);
}
constexpr Api kNone{};
static_assert(fits(kNone.create_tensor, cudnnCreateTensorDescriptor));
static_assert(fits(kNone.destroy_tensor, cudnnDestroyTensorDescriptor));
static_assert(fits(kNone.set_tensor, cudnnSetTensor4dDescriptor));
static_assert(fits(kNone.softmax_forward, cudnnSoftmaxForward));
static_assert(fits(kNone.softmax_backward, cudnnSoftmaxBackward));

}  // namespace tanul::cuda::cudnn
#endif
