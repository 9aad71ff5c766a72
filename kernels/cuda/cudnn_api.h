// SPDX-License-Identifier: Apache-2.0
// The entry points of cuDNN 9 that the backend calls, as one narrow table, like api.h for CUDA: the graph API,
// whose descriptors are objects with typed attributes, and softmax, which that does not have. The module fills
// it from libcudnn.so.9 where that is found, tests from a fake. library_values.cpp compares the numbers, and
// the functions of softmax, with the real headers. Functions return 0 or a status of cuDNN.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tanul::cuda::cudnn {

// Opaque: cudnnHandle_t, cudnnBackendDescriptor_t, cudnnTensorDescriptor_t.
using Handle = void*;
using Descriptor = void*;
using TensorDescriptor = void*;

// The thousands of a status.
constexpr int kBadParameter = 2;
constexpr int kNotSupported = 3;
constexpr int kCompilationFailed = 4001;  // a status of its own

constexpr int kDataFloat = 0;
constexpr int kDataHalf = 2;
constexpr int kDataBfloat16 = 9;
constexpr int kCrossCorrelation = 1;
constexpr int kHeuristicsA = 3;
constexpr int kHeuristicsFallback = 2;
constexpr int kResampleAverageWithPadding = 2;
constexpr int kResampleMaximum = 3;
constexpr int kResampleAverageWithoutPadding = 4;
constexpr int kPadWithZero = 0;
constexpr int kPadWithNegativeInfinity = 1;
constexpr int kPropagateNan = 1;
constexpr int kTensorNchw = 0;
constexpr int kSoftmaxAccurate = 1;  // shifted by the maximum
constexpr int kSoftmaxLogarithm = 2;
constexpr int kSoftmaxOverChannels = 1;

// cudnnBackendNumericalNote_t: what an engine says of its arithmetic.
enum Note : int {
  kNoteTensorCore = 0,
  kNoteDownConvertsInputs = 1,
  kNoteReducedPrecisionReduction = 2,
  kNoteFft = 3,
  kNoteNondeterministic = 4,
  kNoteWinograd = 5,
  kNoteCount = 10
};

// cudnnBackendDescriptorType_t
enum class Kind : int {
  convolution = 1,
  engine = 2,
  engine_config = 3,
  engine_heuristics = 4,
  execution_plan = 5,
  convolution_forward = 10,
  convolution_backward_filter = 11,
  convolution_backward_data = 12,
  operation_graph = 15,
  variant_pack = 16,
  tensor = 17,
  resample = 24,
  resample_forward = 25,
  resample_backward = 26,
};

// cudnnBackendAttributeType_t
enum class Type : int {
  handle = 0,
  data_type = 1,
  int64 = 3,
  float32 = 4,
  pointer = 6,
  convolution_mode = 7,
  heuristics_mode = 8,
  nan_propagation = 10,
  numerical_note = 11,
  descriptor = 15,
  resample_mode = 21,
  padding_mode = 22,
};

// cudnnBackendAttributeName_t
enum class Name : int {
  convolution_compute_type = 100,
  convolution_mode = 101,
  convolution_dilations = 102,
  convolution_strides = 103,
  convolution_post_paddings = 104,
  convolution_pre_paddings = 105,
  convolution_spatial_axes = 106,
  heuristics_mode = 200,
  heuristics_graph = 201,
  heuristics_results = 202,
  config_engine = 300,
  plan_handle = 400,
  plan_config = 401,
  plan_workspace_bytes = 402,
  forward_alpha = 700,  // beta, convolution, w, x, y follow
  forward_beta = 701,
  forward_convolution = 702,
  forward_w = 703,
  forward_x = 704,
  forward_y = 705,
  data_alpha = 706,
  data_beta = 707,
  data_convolution = 708,
  data_w = 709,
  data_dx = 710,
  data_dy = 711,
  filter_alpha = 712,
  filter_beta = 713,
  filter_convolution = 714,
  filter_dw = 715,
  filter_x = 716,
  filter_dy = 717,
  graph_handle = 800,
  graph_operations = 801,
  tensor_alignment = 900,
  tensor_data_type = 901,
  tensor_extents = 902,
  tensor_strides = 903,
  tensor_id = 906,
  pack_ids = 1000,
  pack_pointers = 1001,
  pack_workspace = 1003,
  engine_notes = 1303,
  resample_mode = 1700,
  resample_compute_type = 1701,
  resample_spatial_axes = 1702,
  resample_post_paddings = 1703,
  resample_pre_paddings = 1704,
  resample_strides = 1705,
  resample_windows = 1706,
  resample_nan = 1707,
  resample_padding_mode = 1708,
  resample_x = 1710,  // of the forward operation
  resample_y = 1711,
  resample_forward_windows = 1716,
  resample_dx = 1720,
  resample_dy = 1721,
  resample_backward_windows = 1725,
};

struct Api {
  size_t (*version)();                     // 91300
  const char* (*status_name)(int status);  // "CUDNN_STATUS_NOT_SUPPORTED"

  int (*create)(Handle* handle);  // for the calling thread's device
  int (*destroy)(Handle handle);
  int (*set_stream)(Handle handle, void* stream);
  int (*create_descriptor)(Kind kind, Descriptor* descriptor);
  int (*destroy_descriptor)(Descriptor descriptor);
  int (*set)(Descriptor descriptor, Name name, Type type, int64_t count, const void* values);
  int (*finalize)(Descriptor descriptor);
  int (*get)(Descriptor descriptor, Name name, Type type, int64_t room, int64_t* count,
             void* values);
  int (*execute)(Handle handle, Descriptor plan, Descriptor pack);

  int (*create_tensor)(TensorDescriptor* tensor);
  int (*destroy_tensor)(TensorDescriptor tensor);
  int (*set_tensor)(TensorDescriptor tensor, int format, int data_type, int n, int c, int h, int w);
  // alpha · result + beta · what was there
  int (*softmax_forward)(Handle handle, int algorithm, int mode, const void* alpha,
                         TensorDescriptor x_tensor, const void* x, const void* beta,
                         TensorDescriptor y_tensor, void* y);
  int (*softmax_backward)(Handle handle, int algorithm, int mode, const void* alpha,
                          TensorDescriptor y_tensor, const void* y, TensorDescriptor dy_tensor,
                          const void* dy, const void* beta, TensorDescriptor dx_tensor, void* dx);
};

}  // namespace tanul::cuda::cudnn
