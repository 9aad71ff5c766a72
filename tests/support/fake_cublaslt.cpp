// SPDX-License-Identifier: Apache-2.0
#include "support/fake_cublaslt.h"

#include <cstring>

#include "core/format.h"
#include "support/rounding.h"

namespace tanul::test {

namespace {

using namespace cuda::cublaslt;

constexpr int kInvalidValue = 7;
constexpr int kExecutionFailed = 13;
constexpr int kInternalError = 14;

// Longer sums are split, and have a workspace.
constexpr uint64_t kLongSum = 64;
constexpr size_t kWorkspaceBytes = 1000;
constexpr uint64_t kWorkspaceAlignment = 256;

FakeCublasLt* active = nullptr;

intptr_t number(void* handle) { return reinterpret_cast<intptr_t>(handle); }

bool is_aligned(const void* pointer, uint64_t bytes) {
  return pointer != nullptr && reinterpret_cast<uintptr_t>(pointer) % bytes == 0;
}

float rounded(float x, int compute_type) {
  switch (compute_type) {
    case kCompute32FFastTf32: return round_to_tf32(x);
    case kCompute32FFast16BF: return round_to_bf16(x);
    case kCompute32FFast16F: return round_to_fp16(x);
    default: return x;
  }
}

// op(matrix)(row, column) of a column-major matrix.
struct Matrix {
  const float* data;
  int64_t ld;
  bool is_transposed;
  double at(int64_t row, int64_t column, int compute_type) const {
    const float x = is_transposed ? data[row * ld + column] : data[column * ld + row];
    return static_cast<double>(rounded(x, compute_type));
  }
};

}  // namespace

FakeCublasLt::FakeCublasLt(LibraryHost& host, const FakeCublasLtOptions& o)
    : options(o), host_(host), before_(active) {
  active = this;
}
FakeCublasLt::~FakeCublasLt() {
  if (active == this) active = before_;
}
void FakeCublasLt::make_active() { active = this; }

std::vector<std::string> FakeCublasLt::leaks() const {
  std::vector<std::string> leaks;
  const auto add = [&](const auto& all, const char* what) {
    leaks.insert(leaks.end(), all.size(), what);
  };
  add(handles_, "cublasLtHandle_t");
  add(descs_, "cublasLtMatmulDesc_t");
  add(layouts_, "cublasLtMatrixLayout_t");
  add(preferences_, "cublasLtMatmulPreference_t");
  return leaks;
}

bool FakeCublasLt::begin(const char* name, bool makes_or_frees) {
  if (makes_or_frees) host_.refuse_capture(name);
  return !host_.begin_call(name);
}

template <typename T>
T* FakeCublasLt::find(std::map<intptr_t, T>& all, void* handle, const char* call) {
  const auto found = all.find(number(handle));
  if (found != all.end()) return &found->second;
  host_.break_rule(fmt::format("{} with an object that is not there", call));
  return nullptr;
}

uint64_t FakeCublasLt::problem_of(const Desc& desc, const Layout& a, const Layout& b,
                                  const Layout& d) {
  uint64_t hash = 17;
  for (const uint64_t n :
       {static_cast<uint64_t>(desc.compute_type), static_cast<uint64_t>(desc.trans_a),
        static_cast<uint64_t>(desc.trans_b), static_cast<uint64_t>(desc.epilogue), a.rows,
        a.columns, b.rows, b.columns, d.rows, d.columns}) {
    hash = hash * 1000003 + n;
  }
  return hash;
}

// --- the entry points -----------------------------------------------------------------------------

struct FakeCublasLtApi {
  template <typename T>
  static int create(std::map<intptr_t, T>& all, const char* name, void** made, T value) {
    *made = nullptr;
    if (!active->begin(name, true)) return kInternalError;
    all[active->next_] = value;
    *made = reinterpret_cast<void*>(active->next_);
    active->next_ += 16;
    return 0;
  }
  template <typename T>
  static int destroy(std::map<intptr_t, T>& all, const char* name, void* handle) {
    const bool is_good = active->begin(name, true);
    if (active->find(all, handle, name) == nullptr) return kInvalidValue;
    all.erase(number(handle));
    return is_good ? 0 : kInternalError;
  }

  static int property(int which, int* value) {
    constexpr int kVersion[] = {13, 1, 2};
    *value = kVersion[which];
    return 0;
  }
  static const char* status_name(int status) {
    switch (status) {
      case kInvalidValue: return "CUBLAS_STATUS_INVALID_VALUE";
      case kExecutionFailed: return "CUBLAS_STATUS_EXECUTION_FAILED";
      case kStatusNotSupported: return "CUBLAS_STATUS_NOT_SUPPORTED";
      default: return "CUBLAS_STATUS_INTERNAL_ERROR";
    }
  }
  static const char* status_text(int status) {
    return status == kInternalError ? "an internal operation failed" : "something failed";
  }

  static int create_handle(void** handle) {
    return create(active->handles_, "cublasLtCreate", handle, 0);
  }
  static int destroy_handle(void* handle) {
    return destroy(active->handles_, "cublasLtDestroy", handle);
  }
  static int create_desc(void** desc, int compute_type, int scale_type) {
    if (scale_type != kReal32) active->host_.break_rule("a scale that is not float");
    return create(active->descs_, "cublasLtMatmulDescCreate", desc,
                  FakeCublasLt::Desc{compute_type});
  }
  static int destroy_desc(void* desc) {
    return destroy(active->descs_, "cublasLtMatmulDescDestroy", desc);
  }
  static int set_desc(void* handle, int attribute, const void* value, size_t bytes) {
    const char* name = "cublasLtMatmulDescSetAttribute";
    if (!active->begin(name, false)) return kInternalError;
    FakeCublasLt::Desc* desc = active->find(active->descs_, handle, name);
    if (desc == nullptr) return kInvalidValue;
    void* to = nullptr;
    switch (attribute) {
      case kDescTransA: to = &desc->trans_a; break;
      case kDescTransB: to = &desc->trans_b; break;
      case kDescEpilogue: to = &desc->epilogue; break;
      case kDescBiasPointer: to = &desc->bias; break;
      default: break;
    }
    const size_t expected = attribute == kDescBiasPointer ? sizeof(void*) : sizeof(int32_t);
    if (to == nullptr || bytes != expected) return kInvalidValue;
    std::memcpy(to, value, bytes);
    return 0;
  }
  static int create_layout(void** layout, int type, uint64_t rows, uint64_t columns, int64_t ld) {
    if (type != kReal32 || rows == 0 || columns == 0 || ld < static_cast<int64_t>(rows)) {
      active->host_.break_rule(fmt::format("a layout of {} x {}, ld {}", rows, columns, ld));
    }
    return create(active->layouts_, "cublasLtMatrixLayoutCreate", layout,
                  FakeCublasLt::Layout{rows, columns, ld});
  }
  static int destroy_layout(void* layout) {
    return destroy(active->layouts_, "cublasLtMatrixLayoutDestroy", layout);
  }
  static int create_preference(void** preference) {
    return create(active->preferences_, "cublasLtMatmulPreferenceCreate", preference,
                  FakeCublasLt::Preference{});
  }
  static int destroy_preference(void* preference) {
    return destroy(active->preferences_, "cublasLtMatmulPreferenceDestroy", preference);
  }
  static int set_preference(void* handle, int attribute, const void* value, size_t bytes) {
    const char* name = "cublasLtMatmulPreferenceSetAttribute";
    if (!active->begin(name, false)) return kInternalError;
    FakeCublasLt::Preference* preference = active->find(active->preferences_, handle, name);
    if (preference == nullptr) return kInvalidValue;
    void* to = nullptr;
    size_t expected = sizeof(uint32_t);
    if (attribute == kPreferenceMaxWorkspaceBytes) {
      to = &preference->workspace_bytes;
      expected = sizeof(uint64_t);
    } else if (attribute == kPreferenceReductionSchemes) {
      to = &preference->reduction_schemes;
    } else if (attribute >= kPreferenceAlignmentA && attribute <= kPreferenceAlignmentD) {
      to = &preference->alignment[attribute - kPreferenceAlignmentA];
    }
    if (to == nullptr || bytes != expected) return kInvalidValue;
    std::memcpy(to, value, bytes);
    return 0;
  }

  static int heuristics(void* handle, void* desc_handle, void* a_handle, void* b_handle,
                        void* c_handle, void* d_handle, void* preference_handle, int wanted,
                        HeuristicResult* results, int* found) {
    const char* name = "cublasLtMatmulAlgoGetHeuristic";
    *found = 0;
    if (!active->begin(name, true)) return kInternalError;
    FakeCublasLt& fake = *active;
    const auto* desc = fake.find(fake.descs_, desc_handle, name);
    const auto* a = fake.find(fake.layouts_, a_handle, name);
    const auto* b = fake.find(fake.layouts_, b_handle, name);
    const auto* c = fake.find(fake.layouts_, c_handle, name);
    const auto* d = fake.find(fake.layouts_, d_handle, name);
    const auto* preference = fake.find(fake.preferences_, preference_handle, name);
    if (fake.find(fake.handles_, handle, name) == nullptr || desc == nullptr || a == nullptr ||
        b == nullptr || c == nullptr || d == nullptr || preference == nullptr || wanted < 1) {
      return kInvalidValue;
    }
    const uint64_t rows = desc->trans_a != 0 ? a->columns : a->rows;
    const uint64_t depth = desc->trans_a != 0 ? a->rows : a->columns;
    const uint64_t b_depth = desc->trans_b != 0 ? b->columns : b->rows;
    const uint64_t columns = desc->trans_b != 0 ? b->rows : b->columns;
    if (depth != b_depth || rows != d->rows || columns != d->columns || *c != *d) {
      fake.host_.break_rule("matrices that do not fit together");
      return kInvalidValue;
    }
    if ((preference->reduction_schemes & 1) != 0) {
      fake.host_.break_rule("an algorithm may add the parts of a sum in any order");
    }
    const bool has_bias = (desc->epilogue & (kEpilogueBias | kEpilogueBiasGradientB)) != 0;
    for (const uint32_t alignment : preference->alignment) {
      // Of the operands of a step, no more is known.
      if (alignment > 64 || (has_bias && !is_aligned(desc->bias, 16))) {
        fake.host_.break_rule("more alignment is promised than operands have");
      }
    }
    if (!fake.options.has_algorithms ||
        (desc->epilogue == kEpilogueBiasGradientB && !fake.options.has_bias_gradient)) {
      return kStatusNotSupported;
    }
    results[0] = {};
    results[0].algorithm.data[0] = FakeCublasLt::problem_of(*desc, *a, *b, *d);
    results[0].algorithm.data[1] = preference->alignment[0];
    if (depth > kLongSum && preference->workspace_bytes >= kWorkspaceBytes) {
      results[0].workspace_bytes = kWorkspaceBytes;
    }
    results[0].algorithm.data[2] = results[0].workspace_bytes;
    *found = 1;
    return 0;
  }

  static int matmul(void* handle, void* desc_handle, const void* alpha, const void* a_data,
                    void* a_handle, const void* b_data, void* b_handle, const void* beta,
                    const void* c_data, void* c_handle, void* d_data, void* d_handle,
                    const Algorithm* algorithm, void* workspace, size_t workspace_bytes,
                    void* stream) {
    const char* name = "cublasLtMatmul";
    if (!active->begin(name, false)) return kInternalError;
    FakeCublasLt& fake = *active;
    const auto* desc = fake.find(fake.descs_, desc_handle, name);
    const auto* a = fake.find(fake.layouts_, a_handle, name);
    const auto* b = fake.find(fake.layouts_, b_handle, name);
    const auto* d = fake.find(fake.layouts_, d_handle, name);
    if (fake.find(fake.handles_, handle, name) == nullptr || desc == nullptr || a == nullptr ||
        b == nullptr || d == nullptr) {
      return kInvalidValue;
    }
    const auto broken = [&](const std::string& what) {
      fake.host_.break_rule(fmt::format("{}: {}", name, what));
      return kInvalidValue;
    };
    if (algorithm->data[0] != FakeCublasLt::problem_of(*desc, *a, *b, *d)) {
      return broken("the algorithm was chosen for another problem");
    }
    float factor[2];
    std::memcpy(&factor[0], alpha, sizeof(float));
    std::memcpy(&factor[1], beta, sizeof(float));
    if (factor[0] != 1 || factor[1] != 0 || c_data != d_data || c_handle != d_handle) {
      return broken("not alpha 1, beta 0");
    }
    for (const void* pointer : {a_data, b_data, static_cast<const void*>(d_data)}) {
      if (!is_aligned(pointer, algorithm->data[1])) return broken("an operand is not aligned");
    }
    const bool has_bias = (desc->epilogue & (kEpilogueBias | kEpilogueBiasGradientB)) != 0;
    if (has_bias && !is_aligned(desc->bias, 16)) return broken("the bias is not aligned");
    if (workspace_bytes < algorithm->data[2]) return broken("the workspace is too small");
    if (workspace_bytes > 0 && !is_aligned(workspace, kWorkspaceAlignment)) {
      return broken("the workspace is not aligned");
    }
    const auto run = [desc = *desc, a = *a, b = *b, d = *d, a_data, b_data, d_data, workspace,
                      bytes = algorithm->data[2]] {
      if (bytes > 0) std::memset(workspace, 0x5A, bytes);
      multiply(desc, a, b, d, static_cast<const float*>(a_data), static_cast<const float*>(b_data),
               static_cast<float*>(d_data));
    };
    return fake.host_.queue_work(stream, name, run) ? 0 : kExecutionFailed;
  }

  static void multiply(const FakeCublasLt::Desc& desc, const FakeCublasLt::Layout& a,
                       const FakeCublasLt::Layout& b, const FakeCublasLt::Layout& d,
                       const float* a_data, const float* b_data, float* d_data) {
    const Matrix op_a{a_data, a.ld, desc.trans_a != 0}, op_b{b_data, b.ld, desc.trans_b != 0};
    const auto rows = static_cast<int64_t>(d.rows), columns = static_cast<int64_t>(d.columns);
    const auto depth = static_cast<int64_t>(desc.trans_a != 0 ? a.rows : a.columns);
    auto* bias = static_cast<float*>(desc.bias);
    for (int64_t column = 0; column < columns; ++column) {
      for (int64_t row = 0; row < rows; ++row) {
        double sum = (desc.epilogue & kEpilogueBias) != 0 ? static_cast<double>(bias[row]) : 0.0;
        for (int64_t i = 0; i < depth; ++i) {
          sum += op_a.at(row, i, desc.compute_type) * op_b.at(i, column, desc.compute_type);
        }
        if ((desc.epilogue & kEpilogueRelu) != 0 && sum < 0) sum = 0;
        d_data[column * d.ld + row] = static_cast<float>(sum);
      }
      if (desc.epilogue != kEpilogueBiasGradientB) continue;
      double sum = 0;
      for (int64_t i = 0; i < depth; ++i) sum += op_b.at(i, column, kCompute32F);
      bias[column] = static_cast<float>(sum);
    }
  }
};

const Api& FakeCublasLt::table() {
  using Fake = FakeCublasLtApi;
  static const Api api = {
      .property = Fake::property,
      .status_name = Fake::status_name,
      .status_text = Fake::status_text,
      .create = Fake::create_handle,
      .destroy = Fake::destroy_handle,
      .create_desc = Fake::create_desc,
      .destroy_desc = Fake::destroy_desc,
      .set_desc = Fake::set_desc,
      .create_layout = Fake::create_layout,
      .destroy_layout = Fake::destroy_layout,
      .create_preference = Fake::create_preference,
      .destroy_preference = Fake::destroy_preference,
      .set_preference = Fake::set_preference,
      .heuristics = Fake::heuristics,
      .matmul = Fake::matmul,
  };
  return api;
}

}  // namespace tanul::test
