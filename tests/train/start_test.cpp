// SPDX-License-Identifier: Apache-2.0
// How weights start from data and from files, and the search for a learning rate.
#include "tanul/start.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "core/philox.h"
#include "support/expect_error.h"
#include "train/eigen.h"

namespace tanul {
namespace {

TrainerOptions options_of() {
  TrainerOptions o;
  o.device = "cpu";
  o.batch = 16;
  o.threads = 2;
  o.normalization = Normalization{{0}, {1}};
  return o;
}

// Neighbouring pixels are alike, as in pictures: sums of a few waves.
Tensor pictures(int64_t count, int64_t channels, int64_t size, uint64_t seed = 1) {
  Tensor t({count, channels, size, size});
  const Philox random{seed, philox_stream("pictures"), 0};
  uint64_t draw = 0;
  for (int64_t i = 0; i < count * channels; ++i) {
    double waves[4][4];
    for (auto& wave : waves) {
      for (double& value : wave) value = random.normal(draw++);
    }
    for (int64_t y = 0; y < size; ++y) {
      for (int64_t x = 0; x < size; ++x) {
        double value = 0.1 * random.normal(draw++);
        for (const auto& w : waves) {
          value += w[0] * std::sin(w[1] * static_cast<double>(x) + w[2] * static_cast<double>(y) +
                                   3 * w[3]);
        }
        t.data<float>()[(i * size + y) * size + x] = static_cast<float>(value);
      }
    }
  }
  return t;
}

double variance_of(const Tensor& t) {
  double mean = 0, square = 0;
  const auto n = static_cast<double>(t.elems());
  for (int64_t i = 0; i < t.elems(); ++i) {
    const auto value = static_cast<double>(t.data<float>()[i]);
    mean += value / n;
    square += value * value / n;
  }
  return square - mean * mean;
}

// --- LSUV -------------------------------------------------------------------------------------------

// A residual block, a branch that is concatenated, a shared activation. Every layer's output before its
// activation is an output of the model, so that it can be looked at from outside.
Model branches() {
  ModelBuilder m("branches");
  Var x = m.input({2, 8, 8});
  const Var stem = m.conv2d(x, {.out = 6, .kernel = 3, .pad = 1, .name = "stem"});
  m.output(stem, "stem_out");
  x = m.relu(stem);
  const Var a = m.conv2d(x, {.out = 6, .kernel = 3, .pad = 1, .name = "a"});
  m.output(a, "a_out");
  const Var b = m.conv2d(m.relu(a), {.out = 6, .kernel = 3, .pad = 1, .name = "b"});
  m.output(b, "b_out");
  const Var sum = m.relu(m.add(x, b));
  const Var c = m.conv2d(x, {.out = 3, .kernel = 1, .name = "c"});
  m.output(c, "c_out");
  const Var joined = m.concat({sum, m.tanh(c)});
  const Var fc = m.linear(m.flatten(joined), {.out = 20, .name = "fc"});
  m.output(fc, "fc_out");
  const Var last = m.linear(m.relu(fc), {.out = 4, .name = "last"});
  m.output(last, "last_out");
  return m.build();
}

TEST(Lsuv, EveryLayerOfAGraphWithBranchesHasUnitVariance) {
  const Tensor samples = pictures(64, 2, 8);
  for (const bool orthogonal : {true, false}) {
    TrainerOptions o = options_of();
    o.normalization = Normalization{{0.1f, -0.2f}, {0.5f, 2}};
    Trainer trainer(branches(), o);
    if (!orthogonal) {  // far from 1, with biases
      Tensor bias({6});
      initialize(bias, Init::normal(0, 2), 3, "b");
      trainer.set_parameter("a.bias", bias);
      Tensor w({6, 6, 3, 3});
      initialize(w, Init::normal(0, 30), 3, "w");
      trainer.set_parameter("a.weight", w);
    }
    LsuvOptions options;
    options.orthogonal = orthogonal;
    const std::vector<LsuvLayer> report = trainer.initialize_lsuv(samples, options);
    ASSERT_EQ(report.size(), 6u);
    EXPECT_EQ(report[0].weight, "stem.weight");
    EXPECT_EQ(report.back().weight, "last.weight");
    const std::vector<Tensor> outputs = trainer.predict(std::vector<Tensor>{samples});
    ASSERT_EQ(outputs.size(), 6u);
    const std::vector<PortInfo> names = trainer.model().outputs();
    for (size_t i = 0; i < outputs.size(); ++i) {
      EXPECT_NEAR(variance_of(outputs[i]), 1, 0.1) << names[i].name;
    }
  }
}

double mean_square(const Tensor& t) {
  double sum = 0;
  for (int64_t i = 0; i < t.elems(); ++i) {
    const auto value = static_cast<double>(t.data<float>()[i]);
    sum += value * value;
  }
  return sum / static_cast<double>(t.elems());
}

// He et al. 2015, section 2.2: with weights of variance v over fan-in n, a ReLU layer multiplies the mean
// square of the activations by n v / 2. Over random weights of one layer the factor spreads by 5 / n of
// its square (the fourth moment of a rectified normal), so after l layers its logarithm by sqrt(5 l / n).
TEST(Initialisers, OnlyHePassesTheActivationsOfThirtyReluLayers) {
  constexpr int64_t kWidth = 256;
  const struct {
    Init init;
    double factor;
  } starts[] = {{Init::he_normal(), 1},
                {Init::he_uniform(), 1},
                {Init::glorot_normal(), 0.5},
                {Init::glorot_uniform(), 0.5},
                {Init::normal(0, 0.01), kWidth * 1e-4 / 2}};
  Tensor samples({64, kWidth});
  initialize(samples, Init::normal(0, 1), 9, "samples");
  for (const auto& [init, factor] : starts) {
    SCOPED_TRACE(init.str());
    ModelBuilder m("deep");
    Var x = m.input({kWidth});
    for (int layer = 1; layer <= 30; ++layer) {
      x = m.relu(m.linear(x, {.out = kWidth, .weight_init = init}));
      if (layer % 5 == 0) m.output(x);
    }
    Trainer trainer(m.build(), options_of());
    const std::vector<Tensor> outputs = trainer.predict(std::vector<Tensor>{samples});
    ASSERT_EQ(outputs.size(), 6u);
    for (size_t i = 0; i < outputs.size(); ++i) {
      const double depth = 5 * static_cast<double>(i + 1);
      EXPECT_NEAR(std::log(mean_square(outputs[i])), depth * std::log(factor),
                  4 * std::sqrt(5 * depth / kWidth))
          << "layer " << depth;
    }
  }
}

// Mishkin & Matas: what Glorot's weights for tanh lose, layer by layer, through ReLU stays.
TEST(Lsuv, ThirtyReluLayersPassTheirVariance) {
  constexpr int64_t kWidth = 64;
  ModelBuilder m("deep");
  Var x = m.input({kWidth});
  for (int i = 0; i < 30; ++i) {
    x = m.relu(m.linear(x, {.out = kWidth, .weight_init = Init::normal(0, 0.01)}));
  }
  m.linear(x, {.out = 5, .weight_init = Init::normal(0, 0.01)});
  Trainer trainer(m.build(), options_of());
  Tensor samples({128, kWidth});
  initialize(samples, Init::normal(0, 1), 9, "samples");
  EXPECT_LT(variance_of(trainer.predict(samples)), 1e-30);  // nothing arrives
  const std::vector<LsuvLayer> report = trainer.initialize_lsuv(samples);
  ASSERT_EQ(report.size(), 31u);
  for (const LsuvLayer& layer : report) EXPECT_NEAR(layer.after, 1, 0.1) << layer.weight;
  EXPECT_NEAR(variance_of(trainer.predict(samples)), 1, 0.1);
}

TEST(Lsuv, AFrozenLayerIsLeftAloneAndMistakesAreNamed) {
  TrainerOptions o = options_of();
  o.groups = {{"stem.*", 1, {}, true}};
  o.normalization = {};
  Trainer trainer(branches(), o);
  const Tensor before = trainer.parameter("stem.weight");
  EXPECT_EQ(trainer.initialize_lsuv(pictures(16, 2, 8)).size(), 5u);
  EXPECT_EQ(std::memcmp(before.raw(), trainer.parameter("stem.weight").raw(),
                        static_cast<size_t>(before.bytes())),
            0);
  test::expect_error(Code::invalid_argument, "lsuv: the samples are [1, 8, 8]",
                     [&] { trainer.initialize_lsuv(pictures(16, 1, 8)); });
  test::expect_error(Code::invalid_argument, "lsuv: tolerance is above 0", [&] {
    trainer.initialize_lsuv(pictures(16, 2, 8), {true, 0, 10});
  });
}

// --- whitening --------------------------------------------------------------------------------------

TEST(Eigen, VectorsAndValuesOfASymmetricMatrix) {
  constexpr int64_t n = 12;
  const Philox random{5, philox_stream("eigen"), 0};
  std::vector<double> a(n * n), matrix(n * n, 0.0);
  for (size_t i = 0; i < a.size(); ++i) a[i] = random.normal(i);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      for (int64_t k = 0; k < n; ++k) {
        matrix[static_cast<size_t>(i * n + j)] +=
            a[static_cast<size_t>(i * n + k)] * a[static_cast<size_t>(j * n + k)];
      }
    }
  }
  const Eigen eigen = symmetric_eigen(matrix, n);
  for (int64_t e = 0; e < n; ++e) {
    const double* v = eigen.vectors.data() + e * n;
    if (e > 0) {
      EXPECT_GE(eigen.values[static_cast<size_t>(e - 1)], eigen.values[static_cast<size_t>(e)]);
    }
    for (int64_t i = 0; i < n; ++i) {
      double product = 0, dot = 0;
      for (int64_t j = 0; j < n; ++j) {
        product += matrix[static_cast<size_t>(i * n + j)] * v[j];
        dot += eigen.vectors[static_cast<size_t>(i * n + j)] * v[j];
      }
      EXPECT_NEAR(product, eigen.values[static_cast<size_t>(e)] * v[i], 1e-12 * eigen.values[0]);
      EXPECT_NEAR(dot, i == e ? 1 : 0, 1e-13);
    }
  }
}

// Covariance of the K channels of y [N, K, …] over samples and places, and their means.
void expect_white(const Tensor& y, int64_t channels) {
  const int64_t K = y.shape()[1], places = y.shape().elems_from(2), N = y.shape()[0];
  const auto count = static_cast<double>(N * places);
  const auto at = [&](int64_t n, int64_t k, int64_t p) {
    return static_cast<double>(y.data<float>()[(n * K + k) * places + p]);
  };
  std::vector<double> mean(static_cast<size_t>(K), 0.0);
  for (int64_t k = 0; k < K; ++k) {
    for (int64_t n = 0; n < N; ++n) {
      for (int64_t p = 0; p < places; ++p) mean[static_cast<size_t>(k)] += at(n, k, p) / count;
    }
    EXPECT_NEAR(mean[static_cast<size_t>(k)], 0, 1e-4) << "channel " << k;
  }
  for (int64_t a = 0; a < channels; ++a) {
    for (int64_t b = 0; b <= a; ++b) {
      double sum = 0;
      for (int64_t n = 0; n < N; ++n) {
        for (int64_t p = 0; p < places; ++p) {
          sum += (at(n, a, p) - mean[static_cast<size_t>(a)]) *
                 (at(n, b, p) - mean[static_cast<size_t>(b)]);
        }
      }
      EXPECT_NEAR(sum / count, a == b ? 1 : 0, 1e-4) << "channels " << a << " and " << b;
    }
  }
}

TEST(Whitening, OutputsOverThePatchesAreUncorrelatedAndOfVarianceOne) {
  for (const int64_t filters :
       {5, 18, 30}) {  // fewer than, as many as, more than the patch has elements
    ModelBuilder m("white");
    const Var x = m.input({2, 9, 9});
    m.conv2d(x, {.out = filters, .kernel = 3, .weight_init = Init::whitening()});
    TrainerOptions o = options_of();
    o.normalization = Normalization{{0.3f, -0.2f}, {0.7f, 1.5f}};
    Trainer trainer(m.build(), o);
    const Tensor samples = pictures(60, 2, 9);
    trainer.initialize_whitening(samples);
    const Tensor y = trainer.predict(samples);
    expect_white(y, std::min<int64_t>(filters, 18));
    for (int64_t k = 18; k < filters; ++k) {  // the same filters with the other sign
      EXPECT_EQ(y.data<float>()[k * 49 + 11], -y.data<float>()[(k - 18) * 49 + 11]);
    }
  }
}

TEST(Whitening, RefusesWhatItCannotDo) {
  ModelBuilder m("flat");
  m.linear(m.input({6}), {.out = 2});
  Trainer flat(m.build(), options_of());
  Tensor samples({16, 6});
  test::expect_error(Code::not_found, "whitening: model \"flat\" has no convolution",
                     [&] { flat.initialize_whitening(samples); });
  ModelBuilder w("wide");
  w.conv2d(w.input({1, 8, 8}), {.out = 9, .kernel = 2});
  Trainer wide(w.build(), options_of());
  test::expect_error(Code::invalid_argument,
                     "a patch has 4 elements, so there are at most 8 filters, got 9",
                     [&] { wide.initialize_whitening(pictures(16, 1, 8)); });
}

// --- weights from files -----------------------------------------------------------------------------

Model classifier(int64_t classes) {
  ModelBuilder m("classifier");
  Var x = m.input({1, 6, 6});
  x = m.relu(m.conv2d(x, {.out = 3, .kernel = 3}));
  m.softmax_cross_entropy(m.linear(m.flatten(x), {.out = classes, .name = "fc"}));
  return m.build();
}

bool equal(const Tensor& a, const Tensor& b) {
  return a.bytes() == b.bytes() &&
         std::memcmp(a.raw(), b.raw(), static_cast<size_t>(a.bytes())) == 0;
}

TEST(LoadWeights, TakesWhatMatchesAndSaysWhatDoesNot) {
  TrainerOptions other = options_of();
  other.seed = 7;
  other.optimizer = Sgd{0.1f, 0.9f};
  Trainer old(classifier(10), other), fresh(classifier(4), options_of());
  TensorFile file = old.state();  // with its momenta
  file.tensors.emplace_back("head.weight", Tensor({2, 2}));
  const Tensor fc = fresh.parameter("fc.weight");
  const LoadReport report = fresh.load_weights(file);
  EXPECT_EQ(report.loaded,
            (std::vector<std::string>{"normalization.mean", "normalization.deviation",
                                      "conv1.weight", "conv1.bias"}));
  EXPECT_TRUE(report.missing.empty());
  EXPECT_EQ(report.unexpected, std::vector<std::string>{"head.weight"});
  EXPECT_EQ(report.mismatched, (std::vector<std::string>{"fc.weight [4, 48], in the file [10, 48]",
                                                         "fc.bias [4], in the file [10]"}));
  EXPECT_TRUE(equal(fresh.parameter("conv1.weight"), old.parameter("conv1.weight")));
  EXPECT_TRUE(equal(fresh.parameter("fc.weight"), fc));
  test::expect_error(Code::format, "the weights do not fit model \"classifier\": 0 missing", [&] {
    fresh.load_weights(file, {"*", true});
  });
}

TEST(LoadWeights, ByPatternAndOtherTypes) {
  Trainer trainer(classifier(4), options_of());
  TensorFile file;
  Tensor w({3, 1, 3, 3}, DType::f64);
  for (int64_t i = 0; i < 27; ++i) w.data<double>()[i] = static_cast<double>(i) / 8;
  file.tensors.emplace_back("conv1.weight", w);
  const Tensor bias = trainer.parameter("conv1.bias");
  const LoadReport report = trainer.load_weights(file, {"conv1.*", false});
  EXPECT_EQ(report.loaded, std::vector<std::string>{"conv1.weight"});
  EXPECT_EQ(report.missing, std::vector<std::string>{"conv1.bias"});
  EXPECT_EQ(trainer.parameter("conv1.weight").data<float>()[26], 3.25f);
  EXPECT_TRUE(trainer.load_weights(file, {"fc.*", false}).loaded.empty());
  test::expect_error(Code::not_found, "/nowhere.safetensors",
                     [&] { trainer.load_weights("/nowhere.safetensors"); });
}

TEST(Start, WhitensScalesAndLoadsInThisOrder) {
  ModelBuilder m("start");
  Var x = m.input({1, 8, 8});
  x = m.relu(m.conv2d(x, {.out = 6, .kernel = 3, .weight_init = Init::whitening()}));
  m.softmax_cross_entropy(m.linear(m.flatten(x), {.out = 3}));
  const Model model = m.build();
  TrainerOptions o = options_of();
  o.normalization = {};
  Trainer trainer(model, o), saved(model, o);
  const std::string path = testing::TempDir() + "/start.safetensors";
  Tensor bias({3});
  initialize(bias, Init::constant(0.5), 1, "");
  saved.set_parameter("linear1.bias", bias);
  saved.save(path, false);
  Tensor labels({40}, DType::i32);
  for (int64_t i = 0; i < 40; ++i) labels.data<int32_t>()[i] = static_cast<int32_t>(i % 3);
  StartOptions start;
  start.lsuv = LsuvOptions{};
  start.batch = 30;
  start.weights = path;
  start.load.pattern = "linear1.bias";
  const StartReport report = start_weights(trainer, DataView(pictures(40, 1, 8), labels), start);
  EXPECT_TRUE(report.is_whitened);
  ASSERT_EQ(report.lsuv.size(), 2u);
  EXPECT_NEAR(report.lsuv[0].before, 1, 0.1);  // whitened outputs have unit variance already
  EXPECT_NEAR(report.lsuv[1].after, 1, 0.1);
  ASSERT_TRUE(report.loaded.has_value());
  EXPECT_EQ(report.loaded->loaded, std::vector<std::string>{"linear1.bias"});
  EXPECT_TRUE(equal(trainer.parameter("linear1.bias"), bias));
  EXPECT_TRUE(trainer.normalization().has_value());
}

// --- lr-find ----------------------------------------------------------------------------------------

TEST(LrFind, ProposesARateOnTheSlopeAndKeepsTheTrainer) {
  // Rows around one of three centres; any rate from about 0.01 to 1 works for SGD.
  Tensor samples({300, 8}), labels({300}, DType::i32);
  const Philox random{3, philox_stream("rows"), 0};
  for (int64_t i = 0; i < 300; ++i) {
    labels.data<int32_t>()[i] = static_cast<int32_t>(i % 3);
    for (int64_t k = 0; k < 8; ++k) {
      samples.data<float>()[i * 8 + k] = static_cast<float>(
          (k == i % 3 ? 2 : 0) + random.normal(static_cast<uint64_t>(i * 8 + k)));
    }
  }
  ModelBuilder m("rows");
  m.softmax_cross_entropy(m.linear(m.relu(m.linear(m.input({8}), {.out = 16})), {.out = 3}));
  TrainerOptions o = options_of();
  o.optimizer = Sgd{0.1f, 0.9f};
  Trainer trainer(m.build(), o);
  const DataView data(samples, labels);
  trainer.train_epoch(data);
  const TensorFile before = trainer.state();
  LrRangeOptions options;
  options.from = 1e-5;
  options.to = 1000;
  options.steps = 120;
  const LrRange range = find_learning_rate(trainer, data, options);
  const TensorFile after = trainer.state();
  EXPECT_EQ(before.metadata, after.metadata);
  for (size_t i = 0; i < before.tensors.size(); ++i) {
    EXPECT_TRUE(equal(before.tensors[i].second, after.tensors[i].second))
        << before.tensors[i].first;
  }
  EXPECT_TRUE(range.diverged);
  ASSERT_GT(range.points.size(), 20u);
  EXPECT_LT(range.points.size(), 120u);
  EXPECT_DOUBLE_EQ(range.points[0].lr, 1e-5);
  EXPECT_NEAR(range.points[1].lr / range.points[0].lr, std::pow(1e8, 1.0 / 119), 1e-12);
  EXPECT_LT(range.proposed, range.lowest);

  // From new weights: the proposed rate lowers the loss, a hundred times less hardly does.
  Trainer fresh(trainer.model(), o);
  const LrRange start = find_learning_rate(fresh, data, options);
  EXPECT_GT(start.proposed, 1e-4);
  EXPECT_LT(start.proposed, 10);
  const double at_first = fresh.evaluate(data).loss;
  TrainerOptions proposed = o;
  proposed.optimizer = Sgd{static_cast<float>(start.proposed), 0.9f};
  Trainer good(trainer.model(), proposed);
  for (int epoch = 0; epoch < 3; ++epoch) good.train_epoch(data);
  EXPECT_LT(good.evaluate(data).loss, 0.8 * at_first);
}

TEST(LrFind, RefusesBadRanges) {
  Trainer trainer(classifier(3), options_of());
  const DataView data(Tensor({4, 1, 6, 6}), Tensor({4}, DType::i32));
  test::expect_error(Code::invalid_argument, "lr-find: wants 0 < from < to", [&] {
    find_learning_rate(trainer, data, {1, 0.1});
  });
  test::expect_error(Code::invalid_argument, "lr-find: wants 0 < from < to", [&] {
    find_learning_rate(trainer, data, {1e-3, 1, 1});
  });
}

}  // namespace
}  // namespace tanul
