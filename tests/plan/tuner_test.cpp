// SPDX-License-Identifier: Apache-2.0
// The tuner by a clock that the implementations turn themselves: what it chooses, what it keeps, and what
// it does with files that are not what they should be.
#include "plan/tuner.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <set>

#include "graph/graph.h"
#include "plan/select.h"
#include "support/expect_error.h"
#include "support/temp_folder.h"
#include "tanul/trainer.h"

namespace tanul::test {
namespace {

// What the three implementations below take, return, and saw.
struct {
  double ms[3];
  int status[3];
  int launches;
  StepArgs args;
} told;
double clock_ms = 0;

template <int kWhich>
int launch_told(Stream*, const StepArgs& args) {
  ++told.launches;
  told.args = args;
  clock_ms += told.ms[kWhich];
  return told.status[kWhich];
}

int64_t little_workspace(const StepArgs&, int) { return 100; }

const Implementation kFirst = {"first", supports_all, no_workspace, launch_told<0>};
const Implementation kSecond = {"second", supports_all, little_workspace, launch_told<1>};
const Implementation kThird = {"third", supports_all, no_workspace, launch_told<2>};

class ClockBackend : public Backend {
 public:
  std::string name = "clock";
  int64_t left = 1 << 20;

  Device device() const override { return {DeviceType::cpu, 0}; }
  std::string description() const override { return name; }
  int threads() const override { return 1; }
  const ImplementationList& implementations(OpKind) const override {
    static const ImplementationList none{nullptr, 0};
    return none;
  }
  void* allocate(int64_t bytes) override {
    if (bytes > left) throw Error(Code::out_of_memory, "no memory");
    left -= bytes;
    count(bytes);
    return std::calloc(1, static_cast<size_t>(bytes));
  }
  void release(void* memory, int64_t bytes) noexcept override {
    std::free(memory);
    left += bytes;
    count(-bytes);
  }
  void copy_in(void* device, const void* host, int64_t bytes) override {
    std::memcpy(device, host, static_cast<size_t>(bytes));
  }
  void copy_out(void* host, const void* device, int64_t bytes) override {
    std::memcpy(host, device, static_cast<size_t>(bytes));
  }
  Stream* stream() override { return nullptr; }
  void begin_step() override { ++open_steps; }
  void end_step() noexcept override { --open_steps; }
  double seconds_of(const std::function<void()>& work) override {
    EXPECT_EQ(open_steps, 1);
    const double before = clock_ms;
    work();
    return (clock_ms - before) * 1e-3;
  }
  int open_steps = 0;
};

Operand operand(std::vector<int64_t> dims, DType dtype = DType::f32) {
  Operand o{};
  o.rank = static_cast<int32_t>(dims.size());
  for (size_t i = 0; i < dims.size(); ++i) o.dims[i] = dims[i];
  o.dtype = static_cast<int32_t>(dtype);
  return o;
}

class Tuning : public testing::Test {
 protected:
  TempFolder folder_;
  ClockBackend backend_;
  std::vector<Operand> in_{operand({4, 3}), operand({4}, DType::i32)};
  std::vector<Operand> out_{operand({4, 3})};
  Params params_ = Params::of(int32_t{7});

  Tuning() { tell({0.5, 0.4, 0.6}); }
  ~Tuning() override {
    EXPECT_EQ(backend_.open_steps, 0);
    EXPECT_EQ(backend_.tensor_bytes(), 0);
  }

  static void tell(std::vector<double> ms, std::vector<int> status = {0, 0, 0}) {
    told = {};
    for (size_t i = 0; i < 3; ++i) {
      told.ms[i] = ms[i];
      told.status[i] = status[i];
    }
  }
  std::string path() const { return folder_.path() + "/cache/tanul"; }
  Tuner::Choice choose(Tuner& tuner) {
    in_.push_back(Operand{});
    in_.back().rank = -1;  // left out
    StepArgs args{};
    args.in = in_.data();
    args.in_count = static_cast<int32_t>(in_.size());
    args.out = out_.data();
    args.out_count = static_cast<int32_t>(out_.size());
    args.params = params_.data();
    Tuner::Choice choice = tuner.choose(OpKind::relu_fwd, args, {&kFirst, &kSecond, &kThird},
                                        {&kFirst, &kSecond, &kThird});
    in_.pop_back();
    return choice;
  }
  // By a tuner of its own, as in another run.
  Tuner::Choice choose() {
    Tuner tuner(backend_, path());
    Tuner::Choice choice = choose(tuner);
    tuner.save();
    return choice;
  }
  std::string file() const {
    for (const auto& entry : std::filesystem::directory_iterator(path())) {
      return entry.path().string();
    }
    return "";
  }
};

TEST_F(Tuning, TheQuickestIsTaken) {
  const Tuner::Choice choice = choose();
  EXPECT_EQ(choice.implementation, &kSecond);
  EXPECT_EQ(choice.why, "0.4 ms, first 0.5 ms, third 0.6 ms");
  EXPECT_GT(told.launches, 3 * 3);
}

TEST_F(Tuning, WithinFivePercentTheOrderDecides) {
  tell({0.419, 0.41, 0.4});
  EXPECT_EQ(choose().implementation, &kFirst);
  params_ = Params::of(int32_t{8});
  tell({0.421, 0.419, 0.4});
  EXPECT_EQ(choose().implementation, &kSecond);
}

TEST_F(Tuning, AShortStepRunsManyTimesAndALongOneFew) {
  tell({100, 100, 100});
  choose();
  EXPECT_EQ(told.launches, 3 * (1 + 1 + 3));
  params_ = Params::of(int32_t{8});
  tell({1e-6, 1e-6, 1e-6});
  choose();
  EXPECT_EQ(told.launches, 3 * (1 + 1 + 3 * 50));
}

TEST_F(Tuning, OperandsLieInMemoryOfTheirOwn) {
  static std::vector<float> x;
  static std::vector<int32_t> labels;
  static const Implementation looks = {
      "looks", supports_all, little_workspace, [](Stream*, const StepArgs& args) {
        x.assign(args.in[0].as<float>(), args.in[0].as<float>() + 12);
        labels.assign(args.in[1].as<int32_t>(), args.in[1].as<int32_t>() + 4);
        EXPECT_EQ(args.in[2].data, nullptr);
        EXPECT_EQ(args.workspace_bytes, 100);
        std::memset(args.workspace, 1, 100);
        EXPECT_EQ(args.block->step, 0u);
        std::set<const void*> places{args.in[0].data, args.in[1].data, args.out[0].data,
                                     args.workspace, args.block};
        EXPECT_EQ(places.size(), 5u);
        EXPECT_EQ(args.params_as<int32_t>(), 7);
        clock_ms += 1;
        return 0;
      }};
  in_.push_back(Operand{});
  in_.back().rank = -1;
  StepArgs args{in_.data(), out_.data(), 3, 1, params_.data(), nullptr, 0, nullptr};
  Tuner tuner(backend_, "");
  tuner.choose(OpKind::relu_fwd, args, {&looks, &kFirst}, {&looks, &kFirst});
  EXPECT_EQ(labels, std::vector<int32_t>(4, 0));
  EXPECT_EQ(std::set<float>(x.begin(), x.end()).size(), 12u);
  for (const float value : x) EXPECT_TRUE(std::isfinite(value));
}

TEST_F(Tuning, ALaterRunChoosesAlikeWithoutMeasuring) {
  choose();
  tell({0.1, 9, 9});
  const Tuner::Choice later = choose();
  EXPECT_EQ(told.launches, 0);
  EXPECT_EQ(later.implementation, &kSecond);
  EXPECT_EQ(later.why, "0.4 ms, first 0.5 ms, third 0.6 ms");
}

TEST_F(Tuning, OtherShapesTypesAndParametersAreMeasured) {
  Tuner tuner(backend_, path());
  choose(tuner);
  const auto is_measured = [&] {
    told.launches = 0;
    choose(tuner);
    return told.launches > 0;
  };
  EXPECT_FALSE(is_measured());
  params_ = Params::of(int32_t{8});
  EXPECT_TRUE(is_measured());
  out_[0].dims[1] = 2;
  EXPECT_TRUE(is_measured());
  in_[0].rank = 1;
  EXPECT_TRUE(is_measured());
  in_[1].dtype = static_cast<int32_t>(DType::f32);
  EXPECT_TRUE(is_measured());
  EXPECT_FALSE(is_measured());
  tuner.save();
  Tuner later(backend_, path());
  told.launches = 0;
  choose(later);
  EXPECT_EQ(told.launches, 0);
}

// A device of another name has a file of its own.
TEST_F(Tuning, DevicesAreToldApart) {
  choose();
  backend_.name = "another clock";
  tell({0.1, 0.2, 0.3});
  EXPECT_EQ(choose().implementation, &kFirst);
  backend_.name = "clock";
  EXPECT_EQ(choose().implementation, &kSecond);
}

TEST_F(Tuning, AFileThatIsNotWhatItShouldBeIsMeasuredAgain) {
  choose();
  const std::string name = file();
  ASSERT_NE(name, "");
  std::ifstream in(name, std::ios::binary);
  const std::string good{std::istreambuf_iterator<char>(in), {}};
  const auto replaced = [&](const std::string& what, const std::string& by) {
    std::string text = good;
    const size_t at = text.find(what);
    EXPECT_NE(at, std::string::npos) << what;
    return text.replace(at, what.size(), by);
  };
  std::vector<std::string> bad = {
      "",
      "\n",
      std::string(100, '\0'),
      good + "rubbish\n",
      replaced("tanul tuning 2", "tanul tuning 1"),
      replaced(version(), "0.0.0"),
      replaced("clock", "cl0ck"),
      replaced("0.4", "x"),
      replaced("0.4", "nan"),
      replaced("0.4", ""),
      replaced("\tsecond\t", "\tsecind\t"),
      replaced("\tsecond\t0.4", ""),
  };
  for (size_t bytes = 0; bytes < good.size(); ++bytes) bad.push_back(good.substr(0, bytes));
  for (const std::string& text : bad) {
    std::ofstream(name, std::ios::binary) << text;
    tell({0.3, 0.4, 0.6});
    EXPECT_EQ(choose().implementation, &kFirst) << text;
    EXPECT_GT(told.launches, 0) << text;
    std::ifstream again(name, std::ios::binary);
    const std::string written{std::istreambuf_iterator<char>(again), {}};
    EXPECT_EQ(written.rfind("tanul tuning 2\t", 0), 0u);
    EXPECT_EQ(written.find("rubbish"), std::string::npos);
  }
  EXPECT_EQ(folder_.entries(), 1);
}

TEST_F(Tuning, AFolderThatCannotBeWrittenIsNoError) {
  for (const char* folder : {"", "/dev/null/tanul", "/proc/tanul"}) {
    Tuner tuner(backend_, folder);
    EXPECT_EQ(choose(tuner).implementation, &kSecond);
    tuner.save();
  }
}

// Two runs at a time: what the first one wrote stays, and later runs follow it.
TEST_F(Tuning, WhoWritesFirstDecidesForLaterRuns) {
  Tuner first(backend_, path()), second(backend_, path());
  EXPECT_EQ(choose(first).implementation, &kSecond);
  tell({0.1, 0.4, 0.6});
  EXPECT_EQ(choose(second).implementation, &kFirst);
  params_ = Params::of(int32_t{8});
  EXPECT_EQ(choose(second).implementation, &kFirst);
  first.save();
  second.save();
  told.launches = 0;
  EXPECT_EQ(choose().implementation, &kFirst);
  params_ = Params::of(int32_t{7});
  EXPECT_EQ(choose().implementation, &kSecond);
  EXPECT_EQ(told.launches, 0);
}

TEST_F(Tuning, WhatDoesNotRunIsNotTaken) {
  tell({0.5, 0.4, 0.6}, {0, 3, 0});
  for (int run = 0; run < 2; ++run) {  // the second time from the file
    const Tuner::Choice choice = choose();
    EXPECT_EQ(choice.implementation, &kFirst);
    EXPECT_EQ(choice.why, "0.5 ms, third 0.6 ms");
  }
  params_ = Params::of(int32_t{8});
  tell({0.5, 0.4, 0.6}, {1, 1, 1});
  const Tuner::Choice none = choose();
  EXPECT_EQ(none.implementation, &kFirst);
  EXPECT_EQ(none.why, "");
}

TEST_F(Tuning, WithoutMemoryTheOrderDecidesAndNothingIsKept) {
  backend_.left = 120;  // the inputs fit
  const Tuner::Choice choice = choose();
  EXPECT_EQ(choice.implementation, &kFirst);
  EXPECT_EQ(choice.why, "");
  EXPECT_EQ(told.launches, 0);
  backend_.left = 1 << 20;
  EXPECT_EQ(choose().implementation, &kSecond);
  EXPECT_EQ(backend_.peak_tensor_bytes(), 0);  // planning does not count
}

// --- in the choice for a step -------------------------------------------------------------------------

// How often each of the three was asked, and what it answers.
struct {
  int asked[3];
  const char* refusal[3];
} support;

template <int kWhich>
const char* supports_told(const StepArgs&) {
  ++support.asked[kWhich];
  return support.refusal[kWhich];
}

class TunedSelection : public Tuning {
 protected:
  // By a tuner of its own, as in another run.
  Selection select() {
    static const Implementation items[] = {
        {"first", supports_told<0>, no_workspace, launch_told<0>},
        {"second", supports_told<1>, little_workspace, launch_told<1>},
        {"third", supports_told<2>, no_workspace, launch_told<2>}};
    static const ImplementationList list{items, 3};
    support = {{}, {support.refusal[0], support.refusal[1], support.refusal[2]}};
    Tuner tuner(backend_, path());
    PlanOptions options;
    options.implementations = [](OpKind) -> const ImplementationList& { return list; };
    options.tuner = &tuner;
    Node node;
    node.kind = OpKind::relu_fwd;
    node.layer = "layer";
    const StepArgs args{in_.data(), out_.data(), 1, 1, params_.data(), nullptr, 0, nullptr};
    Selection selection = select_implementation(Graph(), node, args, options);
    tuner.save();
    return selection;
  }
  static std::vector<int> asked() { return {support.asked, support.asked + 3}; }
};

// A library may take long to find out.
TEST_F(TunedSelection, WhoIsKnownToBeSlowerIsNotAsked) {
  support = {{}, {nullptr, nullptr, "has no time"}};
  const Selection first = select();
  EXPECT_EQ(asked(), (std::vector<int>{1, 1, 1}));
  EXPECT_STREQ(first.implementation->name, "second");
  EXPECT_EQ(first.cost.workspace_bytes, 100);
  EXPECT_EQ(first.refused, std::vector<std::string>{"third: has no time"});
  const Selection later = select();
  EXPECT_EQ(asked(), (std::vector<int>{0, 1, 1}));
  EXPECT_EQ(later.implementation, first.implementation);
  EXPECT_EQ(later.cost.workspace_bytes, 100);
  EXPECT_EQ(later.tuned, first.tuned);
  EXPECT_EQ(later.refused, first.refused);
}

TEST_F(TunedSelection, WhoDoesNotSupportItAnyMoreIsNotTaken) {
  support = {};
  EXPECT_STREQ(select().implementation->name, "second");
  support.refusal[1] = "has no time";
  told.launches = 0;
  const Selection later = select();
  EXPECT_STREQ(later.implementation->name, "first");
  EXPECT_GT(told.launches, 0);
  EXPECT_EQ(later.refused, std::vector<std::string>{"second: has no time"});
  // which is kept, too
  told.launches = 0;
  EXPECT_EQ(select().implementation, later.implementation);
  EXPECT_EQ(told.launches, 0);
  support.refusal[0] = support.refusal[2] = "has no time either";
  expect_error(Code::unsupported, "no implementation of relu_fwd fits; first: has no time either",
               [&] { select(); });
}

// --- through the trainer ----------------------------------------------------------------------------

class TunedTrainer : public testing::Test {
 protected:
  TempFolder folder_;
  std::string before_;
  bool was_set_ = false;
  TunedTrainer() {
    if (const char* cache = std::getenv("XDG_CACHE_HOME")) {
      before_ = cache;
      was_set_ = true;
    }
    ::setenv("XDG_CACHE_HOME", folder_.path().c_str(), 1);
  }
  ~TunedTrainer() override {
    if (was_set_) {
      ::setenv("XDG_CACHE_HOME", before_.c_str(), 1);
    } else {
      ::unsetenv("XDG_CACHE_HOME");
    }
  }
};

Model small_network() {
  ModelBuilder m("small");
  Var x = m.relu(m.conv2d(m.input({3, 12, 12}), {.out = 8, .kernel = 3, .pad = 1}));
  x = m.relu(m.conv2d(x, {.out = 8, .kernel = 3, .pad = 1}));
  m.softmax_cross_entropy(m.linear(m.flatten(x), {.out = 4}));
  return m.build();
}

TEST_F(TunedTrainer, TheCpuIsTunedOnRequestAndChoosesAlikeAgain) {
  TrainerOptions options;
  options.device = "cpu";
  options.batch = 8;
  options.threads = 1;
  const auto run = [&](std::vector<StepInfo>& steps) {
    Trainer trainer(small_network(), options);
    steps = trainer.plan().steps;
    Tensor samples({8, 3, 12, 12});
    for (int64_t i = 0; i < samples.elems(); ++i) {
      samples.data<float>()[i] = static_cast<float>(i % 17) / 17;
    }
    return trainer.step(samples, Tensor({8}, DType::i32));
  };
  std::vector<StepInfo> by_order, tuned, again;
  run(by_order);
  for (const StepInfo& step : by_order) EXPECT_EQ(step.tuned, "");
  EXPECT_EQ(folder_.entries(), 0);
  options.tune = true;
  const double loss = run(tuned);
  EXPECT_EQ(folder_.entries(), 1);
  EXPECT_EQ(run(again), loss);
  ASSERT_EQ(tuned.size(), again.size());
  int choices = 0;
  for (size_t i = 0; i < tuned.size(); ++i) {
    EXPECT_EQ(tuned[i].implementation, again[i].implementation);
    EXPECT_EQ(tuned[i].tuned, again[i].tuned);
    choices += tuned[i].tuned.empty() ? 0 : 1;
  }
  EXPECT_GE(choices, 4);  // of the convolutions at least
  // what is forced leaves no choice
  options.force = {{"conv2d_fwd", "im2col_gemm"}};
  run(again);
  for (const StepInfo& step : again) {
    if (step.op != "conv2d_fwd") continue;
    EXPECT_EQ(step.implementation, "im2col_gemm");
    EXPECT_EQ(step.tuned, "");
  }
}

}  // namespace
}  // namespace tanul::test
