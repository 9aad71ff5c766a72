// SPDX-License-Identifier: Apache-2.0
// Training curves recorded from PyTorch: the same initial weights, the same batches, 200 steps. They hold
// pictures that may not be shipped, so they are read from a folder beside the project (or where
// TANUL_GOLDEN_DIR says) and the test is skipped where there is none.
//
// The fair test: the relative deviation from the loss in double is below ten times that of PyTorch's
// own float run so far, plus 1e-6. The final weights and running statistics likewise, with the largest
// deviation of the whole run: each weight tensor by itself, and all together. Vectors that start at 0
// are not held to that one by one: at the end of resnet8_adam PyTorch's own float run is 0.15 off in
// bn.bias and 0.14 in stage1.bn1.bias, more than the ten times 0.0125 of its loss.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <sstream>

#include "support/golden.h"
#include "tanul/tanul.h"

namespace tanul::test::curves_golden {
namespace {

Tensor to_tensor(const RefTensor& t, DType dtype = DType::f32) {
  Tensor tensor(t.shape, DType::f64);
  for (int64_t i = 0; i < t.elems(); ++i) tensor.data<double>()[i] = t[i];
  return tensor.to(dtype);
}

// "3->8" -> 8
int64_t outputs_of(const std::string& text) { return std::stoll(text.substr(text.find('>') + 1)); }

// A network as the index describes it, one line a layer: "conv1 5x5 1->6 pad 2", "max_pool 2".
class Network {
 public:
  Network(const GoldenCase& c, const Shape& sample) : m_(c.name), is_1d_(sample.rank() == 2) {
    if (c.attrs.contains("bn_momentum")) {
      norm_.momentum = c.attrs.at("bn_momentum");
      norm_.eps = c.attrs.at("bn_eps");
    }
    x_ = m_.input(sample);
    const auto lines = c.attrs.at("network").get<std::vector<std::string>>();
    if (lines.front().rfind("fc", 0) == 0 && sample.rank() > 1) x_ = m_.flatten(x_);
    for (const std::string& line : lines) add(line);
    m_.softmax_cross_entropy(x_);
  }
  Model build() { return m_.build(); }

 private:
  void add(const std::string& line) {
    std::istringstream words(line);
    std::string name, word;
    words >> name;
    if (name == "stage:") return;  // explains the others
    std::vector<std::string> rest;
    while (words >> word) rest.push_back(word);
    if (name == "relu") {
      x_ = m_.relu(x_);
    } else if (name == "tanh") {
      x_ = m_.tanh(x_);
    } else if (name == "flatten") {
      x_ = m_.flatten(x_);
    } else if (name == "bn") {
      x_ = norm(x_, name);
    } else if (name == "max_pool") {
      const int64_t kernel = std::stoll(rest.at(0));
      x_ = is_1d_ ? m_.max_pool1d(x_, {.kernel = kernel}) : m_.max_pool2d(x_, {.kernel = kernel});
    } else if (name == "global_avg_pool") {
      x_ = m_.flatten(m_.global_avg_pool(x_));
    } else if (name.rfind("fc", 0) == 0) {
      x_ = m_.linear(x_, {.out = outputs_of(rest.at(0)), .name = name});
    } else if (name.rfind("stage", 0) == 0) {
      x_ = residual(x_, name, outputs_of(rest.at(0)), std::stoll(rest.at(2)));
    } else if (name.rfind("conv", 0) == 0) {
      const int64_t kernel = std::stoll(rest.at(0));
      const bool has_pad = rest.size() > 3 && rest[2] == "pad";
      const bool has_bias = line.find("no bias") == std::string::npos;
      x_ = conv(x_, name, outputs_of(rest.at(1)), kernel, 1, has_pad ? std::stoll(rest[3]) : 0,
                has_bias);
    } else {
      throw std::runtime_error("no such layer: " + line);
    }
  }

  Var conv(Var x, const std::string& name, int64_t out, int64_t kernel, int64_t stride, int64_t pad,
           bool bias) {
    if (is_1d_) {
      return m_.conv1d(
          x,
          {.out = out, .kernel = kernel, .stride = stride, .pad = pad, .bias = bias, .name = name});
    }
    return m_.conv2d(
        x,
        {.out = out, .kernel = kernel, .stride = stride, .pad = pad, .bias = bias, .name = name});
  }
  Var norm(Var x, const std::string& name) {
    BatchNormOptions o = norm_;
    o.name = name;
    return m_.batch_norm(x, o);
  }
  Var residual(Var x, const std::string& name, int64_t out, int64_t stride) {
    const int64_t in = m_.shape(x)[0];
    Var y = m_.relu(norm(conv(x, name + ".conv1", out, 3, stride, 1, false), name + ".bn1"));
    y = norm(conv(y, name + ".conv2", out, 3, 1, 1, false), name + ".bn2");
    if (in != out) {
      x = norm(conv(x, name + ".short_conv", out, 1, stride, 0, false), name + ".short_bn");
    }
    return m_.relu(m_.add(y, x));
  }

  ModelBuilder m_;
  bool is_1d_;
  BatchNormOptions norm_;
  Var x_;
};

Optimizer optimizer_of(const GoldenCase& c) {
  const auto number = [&](const char* key) { return c.attrs.at(key).get<float>(); };
  const std::string name = c.attrs.at("optimizer");
  if (name == "sgd") return Sgd{.lr = number("lr"), .momentum = number("momentum")};
  if (name == "rmsprop") {
    return RmsProp{.lr = number("lr"), .alpha = number("alpha"), .eps = number("eps")};
  }
  const auto betas = c.attrs.at("betas").get<std::vector<float>>();
  if (name == "adam") {
    return Adam{
        .lr = number("lr"), .beta1 = betas.at(0), .beta2 = betas.at(1), .eps = number("eps")};
  }
  if (name == "adamw") {
    return AdamW{.lr = number("lr"),
                 .beta1 = betas.at(0),
                 .beta2 = betas.at(1),
                 .eps = number("eps"),
                 .weight_decay = number("weight_decay")};
  }
  throw std::runtime_error("no such optimizer: " + name);
}

// Samples as the recorded network saw them: normalised in double and rounded once.
Tensor samples_of(const GoldenCase& c) {
  RefTensor x = c.input("x");
  if (c.attrs.contains("mean")) {
    const auto mean = c.attrs.at("mean").get<std::vector<double>>();
    const auto deviation = c.attrs.at("std").get<std::vector<double>>();
    const int64_t plane = x.shape.elems_from(2);
    for (int64_t i = 0; i < x.elems(); ++i) {
      const size_t channel = static_cast<size_t>(i / plane % x.shape[1]);
      x[i] = (x[i] / 255 - mean.at(channel)) / deviation.at(channel);
    }
  }
  return to_tensor(x);
}

Tensor rows(const Tensor& from, const std::vector<int64_t>& which) {
  std::vector<int64_t> extents(from.shape().begin(), from.shape().end());
  extents[0] = static_cast<int64_t>(which.size());
  Tensor to(Shape(extents), from.dtype());
  const auto bytes = static_cast<size_t>(from.shape().elems_from(1) * dtype_bytes(from.dtype()));
  for (size_t i = 0; i < which.size(); ++i) {
    std::memcpy(static_cast<std::byte*>(to.raw()) + i * bytes,
                static_cast<const std::byte*>(from.raw()) + static_cast<size_t>(which[i]) * bytes,
                bytes);
  }
  return to;
}

// |a - b| / |b| over all elements that were added.
struct Deviation {
  double off = 0, size = 0;

  void add(const Tensor& got, const RefTensor& want) {
    for (int64_t i = 0; i < want.elems(); ++i) {
      const double d = static_cast<double>(got.data<float>()[i]) - want[i];
      off += d * d;
      size += want[i] * want[i];
    }
  }
  double value() const { return std::sqrt(off / size); }
};
double deviation(const Tensor& got, const RefTensor& want) {
  Deviation d;
  d.add(got, want);
  return d.value();
}

void reproduce(const GoldenCase& c) {
  const Tensor x = samples_of(c);
  const Tensor target = to_tensor(c.input("target"), DType::i32);
  const RefTensor& order = c.input("order");
  const int64_t steps = order.shape[0], batch = order.shape[1];

  Network network(c, x.shape().tail(1));
  TrainerOptions options;
  options.device = "cpu";
  options.batch = batch;
  options.threads = 2;
  options.optimizer = optimizer_of(c);
  options.epochs = static_cast<double>(steps);  // Trainer::step counts one step an epoch
  if (c.attrs.contains("schedule")) {
    ASSERT_EQ(c.attrs["schedule"]["op"], "cosine");
    ASSERT_EQ(c.attrs["schedule"]["t_max"], steps);
    options.schedule = Schedule::cosine();
  }
  const Model model = network.build();
  const auto channels = static_cast<size_t>(x.shape().rank() > 2 ? x.shape()[1] : 1);
  options.normalization =
      Normalization{std::vector<float>(channels, 0.0f), std::vector<float>(channels, 1.0f)};
  if (model.input_shape().rank() == 1) options.normalization = Normalization{{0}, {1}};
  Trainer trainer(model, options);
  size_t set = 0;
  for (const auto& [role, value] : c.inputs) {
    if (role.rfind("initial.", 0) != 0) continue;
    trainer.set_parameter(role.substr(8), to_tensor(value));
    ++set;
  }
  ASSERT_EQ(set, model.parameters().size());

  const RefTensor& want = c.outputs.at("loss");
  const RefTensor& in_float = c.outputs.at("loss_float32");
  double allowed = 0;
  double worst = 0;
  for (int64_t t = 0; t < steps; ++t) {
    std::vector<int64_t> which;
    for (int64_t i = 0; i < batch; ++i) {
      which.push_back(static_cast<int64_t>(order[t * batch + i]));
    }
    const double loss = trainer.step(rows(x, which), rows(target, which));
    const double off = std::abs(loss - want[t]) / want[t];
    allowed = std::max(allowed, std::abs(in_float[t] - want[t]) / want[t]);
    // An unstable curve (no final weights are kept of it) says nothing once errors have grown a
    // thousandfold: two correct engines then differ by as much as the loss.
    if (c.outputs.count("logits") == 0 && allowed > 1e-3) break;
    worst = std::max(worst, off);
    ASSERT_LE(off, 10 * allowed + 1e-6) << "step " << t << ": loss " << loss << ", in double "
                                        << want[t] << ", PyTorch's float " << in_float[t];
  }
  std::printf("%s: largest deviation %.3g, PyTorch's float %.3g\n", c.name.c_str(), worst, allowed);

  const TensorFile state = trainer.state(false);
  size_t compared = 0;
  Deviation parameters, statistics;
  for (const auto& [role, value] : c.outputs) {
    if (role.rfind("final.", 0) != 0) continue;
    const Tensor* got = state.find(role.substr(6));
    ASSERT_NE(got, nullptr) << role;
    (role.find(".running_") == std::string::npos ? parameters : statistics).add(*got, value);
    if (value.shape.rank() > 1) {
      EXPECT_LE(deviation(*got, value), 10 * allowed + 1e-6) << role;
    }
    ++compared;
  }
  const auto logits = c.outputs.find("logits");
  if (logits == c.outputs.end()) {
    EXPECT_EQ(compared, 0u);
    return;
  }
  EXPECT_GE(compared, model.parameters().size());
  EXPECT_LE(parameters.value(), 10 * allowed + 1e-6) << "all parameters";
  if (statistics.size > 0) {
    EXPECT_LE(statistics.value(), 10 * allowed + 1e-6) << "running statistics";
  }
  // In evaluation mode; predict gives probabilities, so both are compared as those.
  std::vector<int64_t> first;
  for (int64_t i = 0; i < logits->second.shape[0]; ++i) first.push_back(i);
  const Tensor p = trainer.predict(rows(x, first));
  RefTensor q = logits->second;
  const int64_t classes = q.shape[1];
  for (int64_t n = 0; n < q.shape[0]; ++n) {
    double sum = 0;
    for (int64_t k = 0; k < classes; ++k) sum += std::exp(q[n * classes + k]);
    for (int64_t k = 0; k < classes; ++k) q[n * classes + k] = std::exp(q[n * classes + k]) / sum;
  }
  EXPECT_LE(deviation(p, q), 10 * allowed + 1e-6) << "outputs after training";
}

TEST(Golden, CurvesWithPicturesThatMayNotBeShipped) {
  const std::string folder = unshipped_golden_folder();
  if (!std::filesystem::exists(folder + "/curves.json")) {
    GTEST_SKIP() << "there is no " << folder << "/curves.json";
  }
  int cases = 0;
  for (const GoldenCase& c : load_golden("curves", folder)) {
    SCOPED_TRACE(c.name);
    ASSERT_EQ(c.op, "train");
    reproduce(c);
    ++cases;
  }
  EXPECT_GT(cases, 0);
}

}  // namespace
}  // namespace tanul::test::curves_golden
