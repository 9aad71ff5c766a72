// SPDX-License-Identifier: Apache-2.0
// tanul-bench ops: that it reaches every step, finds what is wrong, and reports what it saw.
#include "bench/ops.h"

#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "bench/bar_chart.h"
#include "bench/op_cases.h"
#include "bench/op_check.h"
#include "bench/op_memory.h"
#include "kernels/op.h"
#include "support/expect_error.h"

namespace tanul::bench {
namespace {

using nlohmann::ordered_json;
using test::expect_error;

std::vector<OpSource> sources_of(const std::string& name, int64_t batch = 0) {
  for (const OpShapes& shapes : op_shapes()) {
    if (shapes.name == name) return shapes.sources(batch);
  }
  return {};
}

OpsOptions tiny(const std::string& ops) {
  OpsOptions o;
  o.device = "cpu";
  o.threads = 2;
  o.ops = ops;
  o.shapes = {"tiny"};
  o.repeats = 2;
  o.seconds = 1e-3;  // what is cheapest, once
  o.with_roof = false;
  o.most_copies = 2;
  return o;
}

OpCase only_case(const std::string& op) { return op_cases(sources_of("tiny"), op).front(); }

// A kind that is new in ops.def fails here until a source brings it in.
TEST(BenchOps, ReachesEveryKindOfStep) {
  for (const std::vector<const char*>& names :
       {std::vector<const char*>{"tiny"},
        std::vector<const char*>{"lenet5", "resnet20", "alexnet", "resnet18", "vgg16", "rest"}}) {
    std::set<OpKind> reached;
    for (const char* name : names) {
      for (const OpCase& op : op_cases(sources_of(name), "*")) reached.insert(op.node().kind);
    }
    for (int i = 0; i < kOpKinds; ++i) {
      const auto kind = static_cast<OpKind>(i);
      EXPECT_EQ(reached.count(kind), op_is_view(kind) ? 0u : 1u)
          << op_name(kind) << ", " << names[0];
    }
  }
}

TEST(BenchOps, HasEachStepOnceWithItsCost) {
  std::set<std::string> names;
  const std::vector<OpCase> cases = op_cases(sources_of("lenet5"), "conv2d_*");
  ASSERT_EQ(cases.size(), 5u);  // no gradient of the samples
  for (const OpCase& op : cases) EXPECT_TRUE(names.insert(op.name()).second) << op.name();
  EXPECT_EQ(cases[0].name(), "conv2d_fwd 64x1x28x28 6x1x5x5 -> 64x6x28x28");
  EXPECT_DOUBLE_EQ(cases[0].flops, 2.0 * 64 * 6 * 28 * 28 * 25 + 64 * 6 * 28 * 28);
  EXPECT_DOUBLE_EQ(cases[0].bytes, 4.0 * (64 * 28 * 28 + 6 * 25 + 6 + 64 * 6 * 28 * 28));
}

// On every kind of step: implementations agree, values are finite, times are there.
TEST(BenchOps, ImplementationsOfTheCpuAgree) {
  OpsOptions o = tiny("*");
  o.seconds = 0;  // everything, each as short as can be
  const ordered_json result = run_ops(o);
  EXPECT_TRUE(result["mismatches"].empty()) << result["mismatches"].dump(1);
  EXPECT_EQ(ops_status(result), 0);
  EXPECT_TRUE(result["left_out"].empty());
  size_t compared = 0;
  for (const ordered_json& one : result["cases"]) {
    ASSERT_FALSE(one["results"].empty()) << one["op"];
    for (const ordered_json& row : one["results"]) {
      EXPECT_EQ(row["repeats_ms"].size(), 2u);
      EXPECT_EQ(row["device"], "cpu");
      if (row["check"] == "agrees") ++compared;
    }
    EXPECT_TRUE(one["results"][0]["is_chosen"].get<bool>());
    EXPECT_EQ(one["results"].back()["check"], "the reference");
  }
  EXPECT_GT(compared, 5u);
}

// What the backward steps are given belongs together: nothing that they make is NaN.
TEST(BenchOps, InputsAreSound) {
  const auto cpu = open_backend({DeviceType::cpu, 0}, 1);
  for (const OpCase& op : op_cases(sources_of("tiny"), "*")) {
    const OpInputs inputs(*cpu, op);
    OpMemory memory(*cpu, op, 1);
    memory.reset(inputs, 0);
    const ImplementationList& list = cpu->implementations(op.node().kind);
    const Implementation& last = list.items[list.count - 1];
    memory.bind(last);
    {
      const StepScope scope(*cpu);
      memory.launch(last, 0);
    }
    for (size_t i = 0; i < op.node().out.size(); ++i) {
      const ValueId id = op.node().out[i];
      if (id == kNoValue || op.graph->value(id).dtype != DType::f32) continue;
      const std::vector<std::byte> bytes = memory.output(0, i);
      bool is_all_zero = true;
      for (size_t at = 0; at < bytes.size(); at += 4) {
        float value;
        std::memcpy(&value, bytes.data() + at, 4);
        ASSERT_TRUE(std::isfinite(value)) << op.name() << ", output " << i;
        is_all_zero = is_all_zero && value == 0;
      }
      if (op.node().kind != OpKind::accumulate_total) {
        EXPECT_FALSE(is_all_zero) << op.name() << ", output " << i;
      }
    }
  }
}

int launch_wrong(Stream* stream, const StepArgs& args) {
  const int status = cpu_implementations(OpKind::relu_fwd).items[0].launch(stream, args);
  float* y = args.out[0].as<float>();
  y[args.out[0].elems() - 1] += 0.5f;
  return status;
}

// One wrong element of a tensor is found, named, and not timed.
TEST(BenchOps, AWrongImplementationFailsTheRun) {
  static const Implementation kList[] = {{"wrong", supports_all, no_workspace, launch_wrong},
                                         cpu_implementations(OpKind::relu_fwd).items[0]};
  static const ImplementationList kWrong{kList, 2};
  OpsOptions o = tiny("relu_fwd");
  o.implementations = [](Backend&, OpKind) -> const ImplementationList& { return kWrong; };
  o.seconds = 0;
  const ordered_json result = run_ops(o);
  ASSERT_EQ(result["mismatches"].size(), 2u);  // of a vector of 10 first, which is cheaper
  testing::internal::CaptureStderr();
  EXPECT_EQ(ops_status(result), 1);
  EXPECT_NE(
      testing::internal::GetCapturedStderr().find("tanul-bench: relu_fwd 2x10 -> 2x10: wrong"),
      std::string::npos);
  const std::string text = result["mismatches"][1];
  EXPECT_EQ(text.rfind("relu_fwd 2x8x8x8 -> 2x8x8x8: wrong on cpu against simd on the CPU: "
                       "output 0: element 1023 is ",
                       0),
            0u)
      << text;
  EXPECT_FALSE(result["cases"][0]["results"][0].contains("ms"));
  EXPECT_TRUE(result["cases"][0]["results"][1].contains("ms"));
}

TEST(BenchOps, WhatFindsNoTimeIsNamed) {
  OpsOptions o = tiny("*");
  o.seconds = 1e-9;
  const ordered_json result = run_ops(o);
  EXPECT_EQ(result["cases"].size(), 1u);
  EXPECT_GT(result["left_out"].size(), 100u);
}

TEST(BenchOps, LittleTimeSeesEveryKind) {
  const std::vector<OpCase> cases = op_cases(sources_of("lenet5"), "*");
  const std::vector<size_t> order = cheap_first(cases);
  ASSERT_EQ(order.size(), cases.size());
  EXPECT_EQ(std::set<size_t>(order.begin(), order.end()).size(), cases.size());
  std::set<OpKind> all, seen;
  for (const OpCase& op : cases) all.insert(op.node().kind);
  for (size_t i = 0; i < all.size(); ++i) {
    const OpCase& op = cases[order[i]];
    EXPECT_TRUE(seen.insert(op.node().kind).second) << op.name();
    for (const OpCase& other : cases) {
      if (other.node().kind == op.node().kind) {
        EXPECT_LE(op.flops, other.flops) << op.name();
      }
    }
  }
  ASSERT_LT(all.size(), cases.size());
}

TEST(BenchOps, RefusesWhatIsNotThere) {
  OpsOptions o = tiny("nothing_*");
  expect_error(Code::invalid_argument, "no step of these shapes matches \"nothing_*\"",
               [&] { run_ops(o); });
  o.shapes = {"resnet81"};
  expect_error(Code::invalid_argument, "there are no shapes \"resnet81\"; there are lenet5, ",
               [&] { run_ops(o); });
}

// --- the check ------------------------------------------------------------------------------------

std::vector<std::byte> bytes_of(const std::vector<float>& values) {
  std::vector<std::byte> bytes(values.size() * 4);
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

TEST(BenchCheck, AllowsRoundingAndNothingElse) {
  const OpCase op = only_case("gelu_fwd");
  const auto elems = static_cast<size_t>(op.graph->value(op.node().out[0]).shape.elems());
  std::vector<float> want(elems);
  for (size_t i = 0; i < elems; ++i) want[i] = 1 + static_cast<float>(i % 7);
  std::vector<float> got = want;
  for (float& value : got) value *= 1 + 0x1p-22f;
  const double allowed = allowed_error(op, cpu_implementations(OpKind::gelu_fwd).items[0]);
  EXPECT_LT(allowed, 3e-6);
  EXPECT_EQ(compare(op, {bytes_of(got)}, {bytes_of(want)}, allowed).what, "");
  for (float& value : got) value *= 1 + 0x1p-15f;
  EXPECT_NE(compare(op, {bytes_of(got)}, {bytes_of(want)}, allowed).what, "");
  got = want;
  got[elems / 2] = std::nanf("");
  EXPECT_NE(compare(op, {bytes_of(got)}, {bytes_of(want)}, allowed).what, "");
}

TEST(BenchCheck, MovesHaveTheSameBits) {
  const OpCase op = only_case("slice_fwd");
  const Implementation& any = cpu_implementations(OpKind::slice_fwd).items[0];
  EXPECT_EQ(allowed_error(op, any), 0);
  const auto elems = static_cast<size_t>(op.graph->value(op.node().out[0]).shape.elems());
  std::vector<float> want(elems, 1.0f), got = want;
  EXPECT_EQ(compare(op, {bytes_of(got)}, {bytes_of(want)}, 0).what, "");
  got[3] = std::nextafter(1.0f, 2.0f);
  EXPECT_NE(compare(op, {bytes_of(got)}, {bytes_of(want)}, 0).what, "");
}

TEST(BenchCheck, CoarserFormatsMayBeOffByTheirOwnRounding) {
  const OpCase op = only_case("linear_fwd");
  Implementation one = cpu_implementations(OpKind::linear_fwd).items[0];
  const double fp32 = allowed_error(op, one);
  one.multiplies_in = Precision::tf32;
  EXPECT_NEAR(allowed_error(op, one) - fp32, 4 * 0x1p-11, 1e-9);
  one.multiplies_in = Precision::bf16;
  const double bf16 = allowed_error(op, one);
  EXPECT_NEAR(bf16 - fp32, 4 * 0x1p-8, 1e-9);
  EXPECT_LT(fp32, 1e-5);
  // Two factors and the result, each off as far as it may be and to the same side; and two such more.
  constexpr float kOff = 1 + 0x1p-8f;
  const auto elems = static_cast<size_t>(op.graph->value(op.node().out[0]).shape.elems());
  std::vector<float> want(elems, 1.0f), got(elems, kOff * kOff * kOff);
  EXPECT_EQ(compare(op, {bytes_of(got)}, {bytes_of(want)}, bf16).what, "");
  for (float& value : got) value *= kOff * kOff;
  EXPECT_NE(compare(op, {bytes_of(got)}, {bytes_of(want)}, bf16).what, "");
}

// --- the chart ------------------------------------------------------------------------------------

TEST(BenchChart, DrawsOneBarAnImplementation) {
  OpsOptions o = tiny("linear_fwd");
  ordered_json result = run_ops(o);
  size_t rows = 0;
  for (ordered_json& one : result["cases"]) {
    for (ordered_json& row : one["results"]) {
      row["share_of_roof"] = 0.5;
      ++rows;
    }
  }
  const std::string svg = ops_chart(result);
  EXPECT_EQ(svg.rfind("<svg ", 0), 0u);
  size_t bars = 0;
  for (size_t at = 0; (at = svg.find("width=\"240.0\"", at)) != std::string::npos; ++at) ++bars;
  EXPECT_EQ(bars, rows);
  EXPECT_NE(svg.find("linear_fwd 2x"), std::string::npos);
}

TEST(BenchChart, TextIsEscaped) {
  BarChart chart;
  chart.title = "a < b & c";
  EXPECT_NE(to_svg(chart).find("a &lt; b &amp; c"), std::string::npos);
}

}  // namespace
}  // namespace tanul::bench
