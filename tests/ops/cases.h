// SPDX-License-Identifier: Apache-2.0
// What a case of an op family is. tests/ops/<family>_cases.cpp lists the cases of its forward steps;
// the backward steps are tested with what the op's own grad rule emits for them (ops_test.cpp), and
// the rule itself against central differences (gradient_test.cpp). A family exists because its file
// does: CMake makes families.def of the file names.
#pragma once

#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "graph/graph.h"
#include "support/rule.h"

namespace tanul::test {

// How the elements of an operand are made.
struct Fill {
  enum Kind {
    normal,          // standard normal times `scale`
    integers,        // -scale … scale
    half_integers,   // the same plus 1/2
    distinct,        // a permutation of multiples of `scale`: no ties
    away_from_zero,  // |value| at least 1/4: no kinks at 0
    positive,        // 1/2 … 3/2 times scale
    labels,          // 0 … scale-1
    list,            // `values`, repeated
  };
  Kind kind = normal;
  double scale = 1;
  std::vector<double> values;
};

inline Fill list(std::vector<double> values) { return {Fill::list, 1, std::move(values)}; }

struct In {
  Shape shape;
  Fill fill;
  DType dtype = DType::f32;
  bool present = true;
};
inline In absent() { return {{}, {}, DType::f32, false}; }

struct OpCase {
  std::string name;  // the reason why the case exists
  OpKind kind;
  Params params;
  std::vector<In> in;
  // Inputs that have a gradient: what the grad rule must deliver. Empty for updates and loads.
  std::vector<int> differentiable;
  // Updates: writes into its inputs {in, out}…, runs `steps` times with the state it left behind.
  std::vector<std::pair<int, int>> mutates;
  int steps = 1;
  // Values where the function has a kink or where it is not finite: no central differences.
  bool has_gradient_check = true;
};

// A call that `infer` refuses with exactly this text.
struct RejectCase {
  std::string text;
  OpKind kind;
  Params params;
  std::vector<In> in;
};

struct Family {
  const char* name;
  std::vector<OpCase> (*cases)();
  std::vector<RejectCase> (*rejections)();
  std::vector<Rule> (*rules)();  // the reference maths and error bounds of its step kinds

  // What GoogleTest shows of a parameter.
  friend void PrintTo(const Family& family, std::ostream* out) { *out << family.name; }
};

#define TANUL_FAMILY(name)                     \
  std::vector<OpCase> name##_cases();          \
  std::vector<RejectCase> name##_rejections(); \
  std::vector<Rule> name##_rules();
#include "families.def"
#undef TANUL_FAMILY

inline const std::vector<Family>& families() {
  static const std::vector<Family> all = {
#define TANUL_FAMILY(name) {#name, name##_cases, name##_rejections, name##_rules},
#include "families.def"
#undef TANUL_FAMILY
  };
  return all;
}

// The rule of a step kind, or null.
const Rule* find_rule(OpKind kind);

}  // namespace tanul::test
