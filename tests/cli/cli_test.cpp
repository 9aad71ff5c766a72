// SPDX-License-Identifier: Apache-2.0
// The tool as its users have it: bin/tanul run as a process, on a data set of 8x8 pictures with one
// bright quarter (class = quarter).
#include <fcntl.h>
#include <gtest/gtest.h>
#include <jpeglib.h>  // after stdio.h
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "cli/image.h"
#include "core/format.h"
#include "core/philox.h"
#include "io/file.h"
#include "support/expect_error.h"
#include "support/temp_folder.h"
#include "tanul/checkpoint.h"
#include "tanul/data.h"
#include "tanul/metrics.h"

namespace tanul::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::TempFolder;

constexpr int64_t kSide = 8;
constexpr int64_t kClasses = 4;

struct Outcome {
  int code = -1;  // exit code; 128 + signal
  std::string out;
  std::string err;
};

// Pixel (y, x) of sample i of class c.
uint8_t pixel(int64_t i, int64_t c, int64_t y, int64_t x) {
  const bool is_bright = (y >= kSide / 2) == (c >= 2) && (x >= kSide / 2) == (c % 2 == 1);
  const auto noise = static_cast<uint8_t>((i * 31 + y * 17 + x * 7) % 40);
  return static_cast<uint8_t>((is_bright ? 200 : 10) + noise);
}

void write_part(const TempFolder& folder, const std::string& part, int64_t count) {
  Tensor images({count, kSide, kSide}, DType::u8);
  Tensor labels({count}, DType::u8);
  uint8_t* to = images.data<uint8_t>();
  for (int64_t i = 0; i < count; ++i) {
    const int64_t c = i % kClasses;
    labels.data<uint8_t>()[i] = static_cast<uint8_t>(c);
    for (int64_t y = 0; y < kSide; ++y) {
      for (int64_t x = 0; x < kSide; ++x) *to++ = pixel(i, c, y, x);
    }
  }
  write_idx(folder / ("data/" + part + "-images-idx3-ubyte.gz"), images);
  write_idx(folder / ("data/" + part + "-labels-idx1-ubyte"), labels);
}

constexpr const char* kModel = R"(
name = "tiny"
input = [1, 8, 8]
layers = [
  { conv2d = { out = 4, kernel = 3, pad = 1 } }, "relu", { max_pool2d = { kernel = 2 } },
  "flatten", { linear = { out = 4 } },
]
loss = "softmax_cross_entropy"
[data]
validation = 0.2
[train]
epochs = 3
batch = 16
optimizer = { adam = { lr = 0.02 } }
)";

class Cli : public ::testing::Test {
 protected:
  Cli() {
    fs::create_directory(folder_ / "data");
    write_part(folder_, "train", 200);
    write_part(folder_, "t10k", 80);
    folder_.write("tiny.toml", kModel);
  }

  // Starts the tool in the test's folder, output into files.
  pid_t start(const std::vector<std::string>& args) const {
    const std::string tool = std::string(TANUL_BINARY_DIR) + "/bin/tanul";
    std::vector<char*> argv{const_cast<char*>(tool.c_str())};
    for (const std::string& arg : args) argv.push_back(const_cast<char*>(arg.c_str()));
    argv.push_back(nullptr);
    const std::string out = folder_ / "stdout";
    const std::string err = folder_ / "stderr";
    const std::string cache = folder_ / "cache";
    const pid_t child = ::fork();
    if (child != 0) return child;
    const int out_fd = ::open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    const int err_fd = ::open(err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ::dup2(out_fd, STDOUT_FILENO);
    ::dup2(err_fd, STDERR_FILENO);
    ::setenv("XDG_CACHE_HOME", cache.c_str(), 1);
    if (!module_.empty()) ::setenv("TANUL_CUDA_MODULE", module_.c_str(), 1);
    if (::chdir(folder_.path().c_str()) == 0) ::execv(tool.c_str(), argv.data());
    ::_exit(127);
  }

  Outcome wait_for(pid_t child) const {
    int status = 0;
    ::waitpid(child, &status, 0);
    Outcome outcome;
    outcome.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    outcome.out = folder_.read("stdout");
    outcome.err = folder_.read("stderr");
    return outcome;
  }

  Outcome run(const std::vector<std::string>& args) const { return wait_for(start(args)); }

  Outcome train(const std::string& out, std::vector<std::string> more = {}) const {
    std::vector<std::string> args{"train", "tiny.toml", "--data",    "data",
                                  "--out", out,         "--threads", "1"};
    args.insert(args.end(), more.begin(), more.end());
    return run(args);
  }

  // Fails unless the tool refused with `code` and one line that holds `part`.
  void expect_refused(const std::vector<std::string>& args, const std::string& part,
                      int code = 2) const {
    const Outcome outcome = run(args);
    EXPECT_EQ(outcome.code, code) << outcome.err;
    EXPECT_EQ(outcome.err.rfind("tanul: ", 0), 0u) << outcome.err;
    EXPECT_NE(outcome.err.find(part), std::string::npos) << outcome.err << "lacks " << part;
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  }

  Image sample_image(int64_t c, int64_t scale = 1, int64_t channels = 1) const {
    Image image;
    image.width = image.height = kSide * scale;
    image.channels = channels;
    for (int64_t y = 0; y < kSide * scale; ++y) {
      for (int64_t x = 0; x < kSide * scale; ++x) {
        for (int64_t k = 0; k < channels; ++k) {
          image.pixels.push_back(pixel(1, c, y / scale, x / scale));
        }
      }
    }
    return image;
  }

  TempFolder folder_;
  std::string module_;  // the CUDA module that the tool looks at
};

std::string jpeg_bytes(const Image& image) {
  jpeg_compress_struct jpeg;
  jpeg_error_mgr errors;
  jpeg.err = jpeg_std_error(&errors);
  jpeg_create_compress(&jpeg);
  unsigned char* bytes = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&jpeg, &bytes, &size);
  jpeg.image_width = static_cast<JDIMENSION>(image.width);
  jpeg.image_height = static_cast<JDIMENSION>(image.height);
  jpeg.input_components = static_cast<int>(image.channels);
  jpeg.in_color_space = image.channels == 3 ? JCS_RGB : JCS_GRAYSCALE;
  jpeg_set_defaults(&jpeg);
  jpeg_start_compress(&jpeg, TRUE);
  while (jpeg.next_scanline < jpeg.image_height) {
    auto* row = const_cast<JSAMPROW>(image.pixels.data() +
                                     jpeg.next_scanline * image.width * image.channels);
    jpeg_write_scanlines(&jpeg, &row, 1);
  }
  jpeg_finish_compress(&jpeg);
  jpeg_destroy_compress(&jpeg);
  std::string out(reinterpret_cast<char*>(bytes), size);
  std::free(bytes);
  return out;
}

// --- the whole way ---

TEST_F(Cli, TrainWritesARunFolder) {
  const Outcome outcome = train("run");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.err, "");
  EXPECT_NE(outcome.out.find("tiny · 300 parameters · batch 16 · CPU"), std::string::npos)
      << outcome.out;
  EXPECT_NE(outcome.out.find("data · 160 train / 40 validation / 80 test · 1x8x8 · 4 classes"),
            std::string::npos)
      << outcome.out;
  EXPECT_NE(outcome.out.find("\nepoch  3/3  "), std::string::npos) << outcome.out;
  EXPECT_EQ(outcome.out.find('\r'), std::string::npos) << "carriage returns without a terminal";
  EXPECT_EQ(outcome.out.find('\x1b'), std::string::npos) << "colours without a terminal";
  EXPECT_NE(outcome.out.find("run folder run\n"), std::string::npos) << outcome.out;

  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(folder_ / "run")) {
    files.push_back(entry.path().filename().string());
  }
  std::sort(files.begin(), files.end());
  EXPECT_EQ(files, (std::vector<std::string>{"best.safetensors", "config.toml", "last.safetensors",
                                             "metrics.jsonl", "summary.json"}));

  std::istringstream metrics(folder_.read("run/metrics.jsonl"));
  std::string line;
  int64_t epochs = 0;
  double best = 1e9;
  int64_t best_epoch = 0;
  while (std::getline(metrics, line)) {
    const json m = json::parse(line);
    EXPECT_EQ(m.at("epoch"), ++epochs);
    for (const char* key : {"train_loss", "train_accuracy", "validation_loss",
                            "validation_accuracy", "learning_rate", "images_per_s", "seconds"}) {
      EXPECT_TRUE(m.at(key).is_number()) << key;
    }
    if (m.at("validation_loss").get<double>() < best) {
      best = m.at("validation_loss").get<double>();
      best_epoch = epochs;
    }
  }
  EXPECT_EQ(epochs, 3);

  const json s = json::parse(folder_.read("run/summary.json"));
  EXPECT_GT(s.at("test_accuracy").get<double>(), 0.95);
  EXPECT_TRUE(s.at("test_loss").is_number());
  EXPECT_EQ(s.at("parameters"), 300);
  EXPECT_GT(s.at("peak_tensor_bytes").get<int64_t>(), 300 * 4 * 3);
  EXPECT_GT(s.at("images_per_s").get<double>(), 0);
  EXPECT_EQ(s.at("device"), "cpu");
  EXPECT_EQ(s.at("seed"), 1);
  EXPECT_EQ(s.at("epochs"), 3);
  EXPECT_EQ(s.at("best_epoch"), best_epoch);
  EXPECT_TRUE(s.at("versions").contains("tanul"));
  int64_t counted = 0;
  ASSERT_EQ(s.at("confusion").size(), 4u);
  for (const auto& row : s.at("confusion")) {
    for (const auto& count : row) counted += count.get<int64_t>();
  }
  EXPECT_EQ(counted, 80);
  EXPECT_NE(folder_.read("run/config.toml").find("seed = 1\n"), std::string::npos);
}

TEST_F(Cli, EvalAgreesWithTheSummary) {
  ASSERT_EQ(train("run").code, 0);
  const Outcome outcome = run({"eval", "run", "--json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const json e = json::parse(outcome.out);
  const json s = json::parse(folder_.read("run/summary.json"));
  EXPECT_EQ(e.at("accuracy"), s.at("test_accuracy"));
  EXPECT_EQ(e.at("loss"), s.at("test_loss"));
  EXPECT_EQ(e.at("confusion"), s.at("confusion"));
  EXPECT_EQ(e.at("part"), "test");
  const Outcome text = run({"eval", "run", "--data", "data", "--device", "cpu"});
  EXPECT_EQ(text.code, 0) << text.err;
  EXPECT_NE(text.out.find("test loss "), std::string::npos) << text.out;
  for (const char* part :
       {"class             precision  recall      F1  support\n", "\nmacro average        ",
        "\nweighted average     ", "\nbalanced accuracy ", " · Matthews correlation ", " · kappa ",
        "\nAUC one against the rest ", " · mean average precision ", " · log loss ", " · Brier ",
        " · ECE "}) {
    EXPECT_NE(text.out.find(part), std::string::npos) << part << " in\n" << text.out;
  }
  EXPECT_EQ(text.out.find("top-5"), std::string::npos) << "of four classes it would say nothing";
}

// What --json says of the classes follows from its confusion matrix; what it says of the scores
// agrees with its loss and with itself.
TEST_F(Cli, EvalKnowsMoreThanAccuracy) {
  ASSERT_EQ(train("run", {"--epochs", "1"}).code, 0);
  const Outcome outcome = run({"eval", "run", "--json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const json e = json::parse(outcome.out);
  ConfusionMatrix m(kClasses);
  for (int64_t t = 0; t < kClasses; ++t) {
    for (int64_t p = 0; p < kClasses; ++p) {
      const int64_t count = e.at("confusion")[static_cast<size_t>(t)][static_cast<size_t>(p)];
      for (int64_t i = 0; i < count; ++i) m.add(t, p);
    }
  }
  ASSERT_EQ(m.total(), 80);
  EXPECT_EQ(e.at("balanced_accuracy").get<double>(), m.balanced_accuracy());
  EXPECT_EQ(e.at("matthews_correlation").get<double>(), m.matthews_correlation());
  EXPECT_EQ(e.at("macro").at("f1").get<double>(), m.f1(Average::macro));
  EXPECT_EQ(e.at("weighted").at("precision").get<double>(), m.precision(Average::weighted));
  ASSERT_EQ(e.at("per_class").size(), static_cast<size_t>(kClasses));
  double auc = 0;
  double average_precision = 0;
  for (int64_t c = 0; c < kClasses; ++c) {
    const json& one = e.at("per_class")[static_cast<size_t>(c)];
    EXPECT_EQ(one.at("recall").get<double>(), m.recall(c));
    EXPECT_EQ(one.at("fp").get<double>(), m.counts(c).fp);
    EXPECT_EQ(one.at("tn").get<double>(), m.counts(c).tn);
    EXPECT_EQ(one.at("support").get<double>(), 20);
    auc += one.at("auc").get<double>() / kClasses;
    average_precision += one.at("average_precision").get<double>() / kClasses;
  }
  // The loss adds floats, the log loss doubles, over 80 samples.
  EXPECT_NEAR(e.at("log_loss").get<double>(), e.at("loss").get<double>(), 1e-5);
  EXPECT_NEAR(e.at("auc_one_vs_rest").get<double>(), auc, 1e-12);
  EXPECT_NEAR(e.at("mean_average_precision").get<double>(), average_precision, 1e-12);
  EXPECT_GT(auc, 0.5) << "it has learnt something";
  EXPECT_GT(e.at("brier").get<double>(), 0);
  EXPECT_GE(e.at("mce").get<double>(), e.at("ece").get<double>());
  EXPECT_TRUE(e.at("top_5").is_null());
}

TEST_F(Cli, TheSameSeedGivesTheSameBytes) {
  ASSERT_EQ(train("a").code, 0);
  ASSERT_EQ(train("b", {"--threads", "2"}).code, 2) << "an option twice is refused";
  ASSERT_EQ(run({"train", "tiny.toml", "--data", "data", "--out", "b", "--threads", "2"}).code, 0);
  EXPECT_EQ(folder_.read("a/last.safetensors"), folder_.read("b/last.safetensors"));
  EXPECT_EQ(folder_.read("a/best.safetensors"), folder_.read("b/best.safetensors"));
  ASSERT_EQ(train("c", {"--seed", "2"}).code, 0);
  EXPECT_NE(folder_.read("a/last.safetensors"), folder_.read("c/last.safetensors"));
  // what a run folder says is a recipe of the same run
  ASSERT_EQ(run({"train", "a/config.toml", "--out", "d"}).code, 0);
  EXPECT_EQ(folder_.read("a/last.safetensors"), folder_.read("d/last.safetensors"));
}

TEST_F(Cli, OverridesReachTheRun) {
  const Outcome outcome =
      train("run", {"--epochs", "1", "--batch", "40", "--seed", "7", "--set",
                    "train.optimizer={ sgd = { lr = 0.5 } }", "--set", "data.validation=0"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const json s = json::parse(folder_.read("run/summary.json"));
  EXPECT_EQ(s.at("epochs"), 1);
  EXPECT_EQ(s.at("batch"), 40);
  EXPECT_EQ(s.at("seed"), 7);
  EXPECT_EQ(s.at("data").at("train"), 200);
  EXPECT_NE(folder_.read("run/config.toml").find("sgd = { lr = 0.5"), std::string::npos);
  const json m = json::parse(folder_.read("run/metrics.jsonl"));
  EXPECT_TRUE(m.at("validation_loss").is_null());
}

// The fixture trains on the CPU: what cannot be had is said, and the run folder remembers what was asked.
TEST_F(Cli, PrecisionIsNeverSilent) {
  const std::string said = "precision bf16 asked; this CPU backend computes in fp32\n";
  const Outcome outcome = train("run", {"--epochs", "1", "--set", "train.precision=bf16", "--set",
                                        "train.deterministic=false"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.out.find("a step\n" + said + "deterministic = false: no step"),
            std::string::npos)
      << outcome.out;
  const std::string config = folder_.read("run/config.toml");
  EXPECT_NE(config.find("precision = \"bf16\"\ndeterministic = false\n"), std::string::npos)
      << config;
  const json units = json::parse(folder_.read("run/summary.json")).at("precision");
  EXPECT_EQ(units.at("asked"), "bf16");
  EXPECT_EQ(units.at("products_in_precision"), 0);
  EXPECT_GT(units.at("products"), 0);
  EXPECT_EQ(units.at("deterministic"), false);
  EXPECT_TRUE(units.at("loss_scale").is_null());
  EXPECT_NE(run({"eval", "run"}).out.find(said), std::string::npos);
  EXPECT_NE(
      run({"plan", "tiny.toml", "--device", "cpu", "--set", "train.precision=bf16"}).out.find(said),
      std::string::npos);
  EXPECT_EQ(run({"plan", "tiny.toml", "--device", "cpu"}).out.find("precision"), std::string::npos);
  expect_refused({"plan", "tiny.toml", "--set", "train.precision=bf15"}, "did you mean \"bf16\"?");
}

TEST_F(Cli, Fp16SaysWhatBecameOfItsLossScale) {
  const Outcome outcome =
      train("run", {"--epochs", "1", "--stepwise", "--set", "train.precision=fp16"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.out.find("loss scale 65536 · no step left out\n"), std::string::npos)
      << outcome.out;
  const json units = json::parse(folder_.read("run/summary.json")).at("precision");
  EXPECT_EQ(units.at("loss_scale"), 65536);
  EXPECT_EQ(units.at("steps_left_out"), 0);
}

TEST_F(Cli, RunFoldersAreNeverOverwrittenUnasked) {
  ASSERT_EQ(train("run", {"--epochs", "1"}).code, 0);
  const std::string before = folder_.read("run/summary.json");
  expect_refused({"train", "tiny.toml", "--data", "data", "--out", "run"},
                 "run: is there already and not empty; choose another --out, or --overwrite");
  EXPECT_EQ(folder_.read("run/summary.json"), before);
  EXPECT_EQ(train("run", {"--overwrite"}).code, 0);
  EXPECT_NE(folder_.read("run/summary.json"), before);
  // without --out: the first free number
  for (const char* expected : {"runs/tiny-1", "runs/tiny-2"}) {
    const Outcome outcome = run({"train", "tiny.toml", "--data", "data", "--epochs", "1"});
    EXPECT_NE(outcome.out.find(std::string("run folder ") + expected), std::string::npos)
        << outcome.out << outcome.err;
    EXPECT_TRUE(folder_.has(std::string(expected) + "/summary.json"));
  }
}

TEST_F(Cli, EarlyStoppingEndsTheRun) {
  const Outcome outcome = train("run", {"--epochs", "30", "--set", "train.patience=2", "--set",
                                        "train.optimizer.adam.lr=0.9"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const json s = json::parse(folder_.read("run/summary.json"));
  EXPECT_TRUE(s.at("stopped_early").get<bool>());
  EXPECT_EQ(s.at("epochs"), s.at("best_epoch").get<int64_t>() + 2);
}

TEST_F(Cli, ADivergedRunFailsWithItsReason) {
  const Outcome outcome = train("run", {"--set", "train.optimizer={ sgd = { lr = 1e29 } }"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_NE(outcome.err.find("the loss became"), std::string::npos) << outcome.err;
  EXPECT_FALSE(folder_.has("run/summary.json"));
  const Outcome stepwise =
      train("run2", {"--set", "train.optimizer={ sgd = { lr = 1e29 } }", "--stepwise"});
  EXPECT_EQ(stepwise.code, 1);
  EXPECT_NE(stepwise.err.find("made a value that is not finite"), std::string::npos)
      << stepwise.err;
}

TEST_F(Cli, StepwiseShowsTheFirstStepAndChangesNothing) {
  ASSERT_EQ(train("a").code, 0);
  const Outcome outcome = train("b", {"--stepwise"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const size_t first = outcome.out.find("conv2d_fwd");
  ASSERT_NE(first, std::string::npos) << outcome.out;
  EXPECT_EQ(outcome.out.find("conv2d_fwd", first + 1), std::string::npos) << "only the first step";
  EXPECT_EQ(folder_.read("a/last.safetensors"), folder_.read("b/last.safetensors"));
}

TEST_F(Cli, InterruptSavesAndEnds) {
  const pid_t child = start({"train", "tiny.toml", "--data", "data", "--out", "run", "--epochs",
                             "100000", "--threads", "1"});
  for (int i = 0; i < 1000 && !folder_.has("run/last.safetensors"); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  ::kill(child, SIGINT);
  const Outcome outcome = wait_for(child);
  EXPECT_EQ(outcome.code, 130) << outcome.err;
  EXPECT_NE(outcome.out.find("interrupted after"), std::string::npos);
  const TensorFile saved = read_safetensors(folder_ / "run/last.safetensors");
  EXPECT_NE(saved.find("conv1.weight"), nullptr);
  EXPECT_NE(saved.find("conv1.weight.adam_m"), nullptr);  // it can be continued
  EXPECT_EQ(run({"eval", "run"}).code, 0);
}

// --- pictures ---

TEST_F(Cli, TrainFromAFileSaysWhatItTook) {
  ASSERT_EQ(run({"train", "tiny.toml", "--data", "data", "--epochs", "1", "--out", "first"}).code,
            0);
  folder_.write("tune.toml", std::string(kModel) +
                                 "init = { lsuv = { batch = 32 } }\n"
                                 "from = { file = \"first/last.safetensors\", match = \"conv1.*\", "
                                 "freeze = [\"conv1.*\"] }\n");
  const Outcome o =
      run({"train", "tune.toml", "--data", "data", "--epochs", "1", "--out", "second"});
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_NE(o.out.find("LSUV: 1 layers at unit variance"), std::string::npos) << o.out;
  EXPECT_NE(o.out.find("first/last.safetensors: 2 tensors loaded"), std::string::npos) << o.out;
  EXPECT_NE(o.out.find("frozen: conv1.*"), std::string::npos) << o.out;
  const TensorFile a = read_safetensors(folder_ / "first/last.safetensors");
  const TensorFile b = read_safetensors(folder_ / "second/last.safetensors");
  const Tensor& x = *a.find("conv1.weight");
  EXPECT_EQ(std::memcmp(x.raw(), b.find("conv1.weight")->raw(), static_cast<size_t>(x.bytes())), 0);
  EXPECT_EQ(b.find("conv1.weight.adam_m"), nullptr);  // frozen: no state
}

TEST_F(Cli, LrFindProposesARateAndKeepsNothing) {
  const Outcome o = run({"lr-find", "tiny.toml", "--data", "data", "--from", "1e-5", "--to", "10",
                         "--steps", "60", "--out", "lr"});
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_NE(o.out.find("proposed rate: "), std::string::npos) << o.out;
  EXPECT_NE(o.out.find('*'), std::string::npos) << o.out;
  const json range = json::parse(read_file(folder_ / "lr/lr_find.json"));
  EXPECT_GT(range.at("proposed").get<double>(), 1e-5);
  EXPECT_LT(range.at("proposed").get<double>(), 10);
  EXPECT_GT(range.at("points").size(), 10u);
  const std::string svg = read_file(folder_ / "lr/lr_find.svg");
  EXPECT_EQ(svg.substr(0, 4), "<svg");
  EXPECT_NE(svg.find("<polyline"), std::string::npos);
  EXPECT_EQ(run({"lr-find", "tiny.toml", "--data", "data", "--from", "1", "--to", "0.1"}).code, 2);
}

TEST_F(Cli, PredictNamesTheClass) {
  ASSERT_EQ(train("run").code, 0);
  write_png(folder_ / "grey.png", sample_image(2));
  write_png(folder_ / "large.png", sample_image(1, 5, 3));
  folder_.write("grey.jpg", jpeg_bytes(sample_image(3, 4, 1)));
  folder_.write("colour.jpg", jpeg_bytes(sample_image(0, 4, 3)));
  const Outcome outcome =
      run({"predict", "run", "grey.png", "large.png", "grey.jpg", "colour.jpg", "--json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const json list = json::parse(outcome.out);
  ASSERT_EQ(list.size(), 4u);
  const std::vector<std::string> expected{"2", "1", "3", "0"};
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(list[i].at("class"), expected[i]) << list[i];
    EXPECT_GT(list[i].at("probability").get<double>(), 0.5);
    EXPECT_EQ(list[i].at("top").size(), 3u);
  }
  Image dark = sample_image(2);
  for (uint8_t& value : dark.pixels) value = static_cast<uint8_t>(255 - value);
  write_png(folder_ / "dark.png", dark);
  const Outcome text = run({"predict", "run", "dark.png", "--invert", "--top", "1"});
  EXPECT_EQ(text.code, 0) << text.err;
  EXPECT_EQ(text.out.rfind("dark.png  2 ", 0), 0u) << text.out;
}

TEST_F(Cli, CorruptPicturesAreNamed) {
  ASSERT_EQ(train("run", {"--epochs", "1"}).code, 0);
  write_png(folder_ / "good.png", sample_image(2, 8));
  const std::string png = folder_.read("good.png");
  const std::string jpg = jpeg_bytes(sample_image(2, 8));
  std::string bad_crc = png;
  bad_crc[bad_crc.size() / 2] = static_cast<char>(bad_crc[bad_crc.size() / 2] ^ 0x5a);
  folder_.write("cut.png", png.substr(0, png.size() / 2));
  folder_.write("crc.png", bad_crc);
  folder_.write("mark.png", png.substr(0, 8));
  folder_.write("cut.jpg", jpg.substr(0, jpg.size() / 2));
  folder_.write("mark.jpg", jpg.substr(0, 3));
  folder_.write("text.png", "hello");
  folder_.write("empty.png", "");
  for (const char* name : {"cut.png", "crc.png", "mark.png"}) {
    expect_refused({"predict", "run", "good.png", name}, std::string(name) + ": corrupt PNG: ");
  }
  for (const char* name : {"cut.jpg", "mark.jpg"}) {
    expect_refused({"predict", "run", name}, std::string(name) + ": corrupt JPEG: ");
  }
  for (const char* name : {"text.png", "empty.png"}) {
    expect_refused({"predict", "run", name}, "neither a PNG nor a JPEG");
  }
  expect_refused({"predict", "run", "nowhere.png"}, "nowhere.png: no such file");
  // a PNG that promises 2^30 x 2^30 pixels
  std::string huge = png;
  for (const size_t at : {16u, 20u}) huge.replace(at, 4, std::string("\x40\0\0\0", 4));
  folder_.write("huge.png", huge);
  expect_refused({"predict", "run", "huge.png"}, "huge.png: ");
}

TEST(CliImage, ShrinksByAreaAndGrowsBilinearly) {
  Image image;
  image.width = 4;
  image.height = 2;
  image.pixels = {0, 100, 200, 200, 100, 200, 0, 0};
  uint8_t small[2];
  image_to_input(image, Shape{1, 1, 2}, false, small);
  EXPECT_EQ(small[0], 100);
  EXPECT_EQ(small[1], 100);
  Image pair;
  pair.width = 2;
  pair.height = 1;
  pair.pixels = {0, 200};
  uint8_t large[4];
  image_to_input(pair, Shape{1, 1, 4}, false, large);
  EXPECT_EQ(std::vector<int>(large, large + 4), (std::vector<int>{0, 50, 150, 200}));
  Image red;
  red.width = red.height = 1;
  red.channels = 3;
  red.pixels = {255, 0, 0};
  uint8_t grey[1];
  image_to_input(red, Shape{1, 1, 1}, false, grey);
  EXPECT_EQ(grey[0], 76);  // 0.299 * 255
  image_to_input(red, Shape{1, 1, 1}, true, grey);
  EXPECT_EQ(grey[0], 179);
  test::expect_error(Code::invalid_argument, "pictures go into",
                     [&] { image_to_input(red, Shape{5}, false, grey); });
}

// --- the other commands ---

TEST_F(Cli, PlanShowsEveryLayerAndTheTotals) {
  const Outcome outcome = run({"plan", "tiny.toml"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  for (const char* part : {"layer", "conv1", "conv2d 3x3 /1 +1", "16x4x8x8", "linear1", "300",
                           "a training step of batch 16", "memory ", "alive at the peak"}) {
    EXPECT_NE(outcome.out.find(part), std::string::npos) << part << "\n" << outcome.out;
  }
  const Outcome steps = run({"plan", "tiny.toml", "--steps", "--why", "--batch", "8"});
  ASSERT_EQ(steps.code, 0) << steps.err;
  EXPECT_NE(steps.out.find("conv2d_bwd_weights"), std::string::npos) << steps.out;
  EXPECT_NE(steps.out.find("8x4x8x8"), std::string::npos) << steps.out;
  EXPECT_EQ(steps.out.find("tuned: "), std::string::npos) << steps.out;
  for (const char* view : {"--why", "--steps"}) {  // measured once, then kept
    const Outcome tuned = run({"plan", "tiny.toml", "--why", view, "--set", "train.tune=true"});
    ASSERT_EQ(tuned.code, 0) << tuned.err;
    EXPECT_NE(tuned.out.find("  tuned: "), std::string::npos) << tuned.out;
    EXPECT_NE(tuned.out.find(" ms, "), std::string::npos) << tuned.out;
  }
  // Both settings of memory are priced, whichever is chosen.
  const std::string price = outcome.out.substr(outcome.out.find("memory = \"low\": "));
  EXPECT_NE(price.find(" % less) for "), std::string::npos) << price;
  const Outcome low = run({"plan", "tiny.toml", "--memory", "low"});
  ASSERT_EQ(low.code, 0) << low.err;
  EXPECT_EQ(low.out.substr(low.out.find("memory = \"low\": ")), price);
  expect_refused({"plan", "tiny.toml", "--memory", "little"}, "{normal,low}");
  expect_refused({"plan", "tiny.toml", "--force", "conv2d_fwd:nonsense"}, "nonsense");
  expect_refused({"plan", "tiny.toml", "--force", "nonsense"}, "is written step:name");
}

TEST_F(Cli, InfoIsJsonToo) {
  const Outcome outcome = run({"info", "--json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const json info = json::parse(outcome.out);
  for (const char* key : {"version", "build", "isa", "threads", "blas", "devices"}) {
    EXPECT_TRUE(info.contains(key)) << key;
  }
  EXPECT_NE(run({"info"}).out.find("BLAS"), std::string::npos);
  EXPECT_NE(run({"info"}).out.find("cpu: products in fp32\n"), std::string::npos);
  EXPECT_EQ(info.at("devices").at(0).at("precisions"), std::vector<std::string>{"fp32"});
}

// Modules that cannot be used, each with its reason: the tool trains on the CPU and says so in its first
// line; --device cuda is refused with exit code 1.
TEST_F(Cli, WithoutAGpuItTrainsAndSaysWhy) {
  const std::vector<std::pair<const char*, const char*>> modules = {
      {"no_device", "there is no NVIDIA driver"},
      {"wrong_abi", "is of another build: its interface has version"},
      {"missing_library", "cannot be loaded: undefined symbol"},
      {"no_symbol", "is no module of tanul: it has no tanul_backend"},
      {"not_there", "the CUDA module is not installed"}};
  for (const auto& [module, reason] : modules) {
    SCOPED_TRACE(module);
    module_ = fmt::format("{}/test_modules/{}.so", TANUL_BINARY_DIR, module);
    const Outcome trained = train(module, {"--epochs", "1"});
    ASSERT_EQ(trained.code, 0) << trained.err;
    const std::string header = trained.out.substr(0, trained.out.find('\n'));
    EXPECT_NE(header.find(" (no GPU: "), std::string::npos) << header;
    EXPECT_NE(header.find(reason), std::string::npos) << header;
    expect_refused({"train", "tiny.toml", "--data", "data", "--device", "cuda"}, reason, 1);
    EXPECT_NE(run({"info"}).out.find(reason), std::string::npos);
    EXPECT_EQ(json::parse(run({"info", "--json"}).out).at("devices").size(), 1u);
  }
}

TEST_F(Cli, DataInfoCountsAndDraws) {
  const Outcome outcome = run({"data", "info", "data", "--json", "--picture", "sheet.png"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const json info = json::parse(outcome.out);
  EXPECT_EQ(info.at("train").at("samples"), 200);
  EXPECT_EQ(info.at("train").at("class_counts"), (std::vector<int>{50, 50, 50, 50}));
  EXPECT_EQ(info.at("test").at("samples"), 80);
  EXPECT_EQ(info.at("sample_shape"), (std::vector<int>{1, 8, 8}));
  // row 3, column 0 of the sheet is the first sample of class 3: dark above, bright below right
  const Image sheet = read_image(folder_ / "sheet.png");
  const int64_t zoom = 6;
  const int64_t cell = kSide * zoom + 2;
  EXPECT_EQ(sheet.width, 12 * cell + 2);
  EXPECT_EQ(sheet.height, 4 * cell + 2);
  const auto at = [&](int64_t y, int64_t x) {
    return sheet
        .pixels[static_cast<size_t>((2 + 3 * cell + y * zoom) * sheet.width + 2 + x * zoom)];
  };
  EXPECT_EQ(at(0, 0), pixel(3, 3, 0, 0));
  EXPECT_EQ(at(7, 6), pixel(3, 3, 7, 6));
  const Outcome text = run({"data", "info", "data"});
  EXPECT_NE(text.out.find("200 train / 0 validation / 80 test · 1x8x8 u8 · 4 classes"),
            std::string::npos)
      << text.out;
}

TEST_F(Cli, HelpIsNoError) {
  for (const auto& args : std::vector<std::vector<std::string>>{
           {"--help"}, {"train", "--help"}, {"data", "get", "--help"}, {"--version"}}) {
    const Outcome outcome = run(args);
    EXPECT_EQ(outcome.code, 0);
    EXPECT_NE(outcome.out.size(), 0u);
    EXPECT_EQ(outcome.err, "");
  }
}

// --- refusals ---

TEST_F(Cli, WrongCommandsAreExplained) {
  expect_refused({}, "say what to do");
  expect_refused({"trian"}, R"(there is no command "trian"; did you mean "train"?)");
  expect_refused({"data"}, "data: say what to do");
  expect_refused({"data", "gte"}, R"(data: there is no command "gte"; did you mean "get"?)");
  expect_refused({"train", "tiny.toml", "--epoch", "3"},
                 R"(train: there is no option "--epoch"; did you mean "--epochs"?)");
  expect_refused({"train", "tiny.toml", "--epochs", "three"}, "--epochs");
  expect_refused({"train", "tiny.toml", "--epochs", "0"}, "--epochs");
  expect_refused({"train"}, "MODEL.toml");
  expect_refused({"train", "tiny.toml", "more.toml"}, R"("more.toml" is one word too many)");
  expect_refused({"train", "tiny.toml", "--data", "data", "--set", "train.epoch=3"},
                 R"(--set train.epoch=3: [train] has no key "epoch"; did you mean "epochs"?)");
  expect_refused({"train", "tiny.toml", "--data", "data", "--device", "gpu"},
                 R"(there is no device "gpu")");
  expect_refused({"train", "nowhere.toml"}, "nowhere.toml: no such file");
  expect_refused({"train", "data"}, "data: is a folder");
  expect_refused({"data", "get", "nonsense"}, R"(no data set "nonsense" can be fetched)");
  EXPECT_FALSE(folder_.has("runs")) << "something was left behind";
}

TEST_F(Cli, MissingDataSaysHowToGetIt) {
  expect_refused({"train", "tiny.toml"}, "tanul data get mnist");
  expect_refused({"train", "tiny.toml", "--data", "mnist"},
                 "the data set mnist is not here; `tanul data get mnist` fetches it");
  expect_refused({"train", "tiny.toml", "--data", "mnits"}, R"(did you mean "mnist"?)");
  expect_refused({"train", "tiny.toml", "--data", "no/where"}, "no such folder");
  expect_refused({"data", "info", "nowhere"}, "no such folder and no known data set");
  EXPECT_FALSE(folder_.has("runs"));
}

TEST_F(Cli, KnownNamesAreFoundInTheCache) {
  fs::create_directories(folder_ / "cache/tanul");
  fs::copy(folder_ / "data", folder_ / "cache/tanul/mnist");
  const Outcome outcome = run({"data", "info", "mnist"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.out.find("MNIST · "), std::string::npos) << outcome.out;
}

TEST_F(Cli, AnAutoencoderLearnsItsOwnSamples) {
  folder_.write("auto.toml",
                "input = [1, 8, 8]\nlayers = [{ conv2d = { out = 1, kernel = 1 } }]\n"
                "loss = \"mean_squared_error\"\n"
                "[data]\nnormalize = \"none\"\ntargets = \"samples\"\n"
                "[train]\nepochs = 30\noptimizer = { sgd = { lr = 0.2 } }\n");
  const Outcome outcome = run({"train", "auto.toml", "--data", "data", "--out", "run"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  // y = w x + b learns w = 1, b = 0
  EXPECT_NE(outcome.out.find("test loss 0.000"), std::string::npos) << outcome.out;
  EXPECT_EQ(run({"eval", "run"}).code, 0);
}

TEST_F(Cli, CorruptFilesAreRefusedAndNothingIsLeft) {
  folder_.write("bad.toml",
                "input = [1, 8, 8]\nlayers = [{ conv2d = { kernal = 5 } }]\n"
                "loss = \"mean_squared_error\"\n");
  expect_refused({"train", "bad.toml", "--data", "data", "--out", "run"},
                 R"(bad.toml:2:24: conv2d "conv1" has no key "kernal"; did you mean "kernel"?)");
  folder_.write("wide.toml",
                "input = [1, 9, 9]\nlayers = [\"flatten\", { linear = { out = 4 } }]\n"
                "loss = \"softmax_cross_entropy\"\n");
  expect_refused({"train", "wide.toml", "--data", "data", "--out", "run"},
                 "the samples are [1, 8, 8], but the input of model \"wide\" is [1, 9, 9]");
  folder_.write("few.toml",
                "input = [1, 8, 8]\nlayers = [\"flatten\", { linear = { out = 3 } }]\n"
                "loss = \"softmax_cross_entropy\"\n");
  expect_refused({"train", "few.toml", "--data", "data", "--out", "run"},
                 "4 classes, but model \"few\" has 3 outputs");
  expect_refused({"train", "few.toml", "--data", "data", "--out", "run", "--set",
                  "data.targets=\"samples\"", "--set", "loss=\"mean_squared_error\""},
                 "the samples are [1, 8, 8], but model \"few\" puts out [3]");
  const std::string images = folder_.read("data/train-images-idx3-ubyte.gz");
  folder_.write("data/train-images-idx3-ubyte.gz", images.substr(0, images.size() / 2));
  expect_refused({"train", "tiny.toml", "--data", "data", "--out", "run"},
                 "train-images-idx3-ubyte.gz");
  expect_refused({"data", "info", "data", "--picture", "sheet.png"}, "train-images-idx3-ubyte.gz");
  EXPECT_FALSE(folder_.has("run"));
  EXPECT_FALSE(folder_.has("sheet.png"));
}

TEST_F(Cli, BrokenRunFoldersAreNamed) {
  expect_refused({"eval", "run"}, "run: no such run folder");
  expect_refused({"eval", "data"}, "data: is no run folder, it has no config.toml");
  ASSERT_EQ(train("run", {"--epochs", "1"}).code, 0);
  const std::string weights = folder_.read("run/best.safetensors");
  folder_.write("run/best.safetensors", weights.substr(0, weights.size() - 5));
  expect_refused({"eval", "run"}, "run/best.safetensors");
  fs::remove(folder_ / "run/best.safetensors");
  EXPECT_EQ(run({"eval", "run"}).code, 0) << "last.safetensors serves too";
  fs::remove(folder_ / "run/last.safetensors");
  expect_refused({"eval", "run"}, "run: has no weights yet");
  // weights of another model
  folder_.write("other.toml",
                "input = [1, 8, 8]\nlayers = [\"flatten\", { linear = { out = 4 } }]\n"
                "loss = \"softmax_cross_entropy\"\n");
  ASSERT_EQ(run({"train", "other.toml", "--data", "data", "--out", "other", "--epochs", "1"}).code,
            0);
  fs::copy(folder_ / "other/best.safetensors", folder_ / "run/best.safetensors");
  expect_refused({"eval", "run"}, "run/best.safetensors: tensor ");
}

// `tanul plan … | head -1`: the reader goes, the tool ends quietly.
TEST_F(Cli, AReaderThatGoesIsNoError) {
  const std::string command = "cd " + folder_.path() + " && { " + TANUL_BINARY_DIR +
                              "/bin/tanul train tiny.toml --data data --out run 2>err; "
                              "echo $? >code; } | head -1 >first";
  ASSERT_EQ(std::system(command.c_str()), 0);
  EXPECT_EQ(folder_.read("code"), "0\n");
  EXPECT_EQ(folder_.read("err"), "");
  EXPECT_TRUE(folder_.has("run/summary.json"));
}

TEST_F(Cli, AFullDiskIsAnError) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "no /dev/full";
  const std::string command =
      std::string(TANUL_BINARY_DIR) + "/bin/tanul info >/dev/full 2>" + folder_.path() + "/err";
  const int status = std::system(command.c_str());
  EXPECT_EQ(WEXITSTATUS(status), 1);
  EXPECT_EQ(folder_.read("err"), "tanul: standard output cannot be written\n");
}

}  // namespace
}  // namespace tanul::cli
