// SPDX-License-Identifier: Apache-2.0
// tanul inside a program that has its own ideas: one that uses OpenBLAS with its own thread count,
// its own signal handlers, locale, rounding and streams. Training must leave all of it as it was.
// Links libtanul.so and nothing of its inside.
#include <cblas.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <tanul/tanul.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cfenv>
#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <locale>
#include <random>
#include <string>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

constexpr int kSize = 192;  // of the host's own matrices: large enough for OpenBLAS to use threads
constexpr int64_t kBatch = 16;

struct Samples {
  tanul::Tensor images{{kBatch, 3, 16, 16}};
  tanul::Tensor labels{{kBatch}, tanul::DType::i32};

  Samples() {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < images.elems(); ++i) images.data<float>()[i] = normal(random);
    for (int64_t i = 0; i < kBatch; ++i) labels.data<int32_t>()[i] = static_cast<int32_t>(i % 4);
  }
};

tanul::Trainer make_trainer(int threads = 2) {
  tanul::ModelBuilder m("host");
  auto x = m.input({3, 16, 16});
  x = m.max_pool2d(m.relu(m.conv2d(x, {.out = 16, .kernel = 3, .pad = 1})), {.kernel = 2});
  x = m.relu(m.linear(m.flatten(x), {.out = 32}));
  m.softmax_cross_entropy(m.linear(m.dropout(x), {.out = 4}));
  return tanul::Trainer(m.build(), {.batch = kBatch, .threads = threads});
}

// Everything that the library offers on the way from data to a saved model, and one refusal.
void use_tanul() {
  const Samples samples;
  tanul::Trainer trainer = make_trainer();
  trainer.step(samples.images, samples.labels);
  const tanul::DataView data(samples.images, samples.labels);
  trainer.train_epoch(data);
  trainer.evaluate(data);
  trainer.predict(samples.images);
  const std::filesystem::path file = std::filesystem::temp_directory_path() /
                                     ("tanul_host_" + std::to_string(::getpid()) + ".safetensors");
  trainer.save(file.string());
  make_trainer(1).load(file.string());
  std::filesystem::remove(file);
  EXPECT_THROW(tanul::load_idx("/nonexistent"), tanul::Error);
  EXPECT_FALSE(tanul::system_info().blas.empty());
}

std::vector<double> host_product() {
  std::mt19937 random(2);
  std::normal_distribution<double> normal;
  std::vector<double> a(kSize * kSize), b(kSize * kSize), c(kSize * kSize);
  for (double& v : a) v = normal(random);
  for (double& v : b) v = normal(random);
  cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, kSize, kSize, kSize, 1.0, a.data(), kSize,
              b.data(), kSize, 0.0, c.data(), kSize);
  return c;
}

class HostBlas : public ::testing::TestWithParam<int> {};

TEST_P(HostBlas, ThreadCountAndResultsAreAsBefore) {
  openblas_set_num_threads(GetParam());
  const int threads = openblas_get_num_threads();
  const std::vector<double> before = host_product();
  use_tanul();
  EXPECT_EQ(openblas_get_num_threads(), threads);
  EXPECT_EQ(host_product(), before);
}

INSTANTIATE_TEST_SUITE_P(Threads, HostBlas, ::testing::Values(1, 2, 3));

TEST(HostProgram, BlasCountIsRestoredAfterAnError) {
  openblas_set_num_threads(2);
  tanul::Trainer trainer = make_trainer();
  const Samples samples;
  tanul::Tensor broken = samples.images.clone();
  broken.data<float>()[0] = std::numeric_limits<float>::quiet_NaN();
  const tanul::DataView data(broken, samples.labels);
  EXPECT_THROW(trainer.train_epoch(data), tanul::Error);  // diverged
  EXPECT_EQ(openblas_get_num_threads(), 2);
}

// The host multiplies in one thread while tanul trains in another: both get right results, and the
// host's thread count is there again when both are done.
TEST(HostProgram, BlasBesideTraining) {
  openblas_set_num_threads(2);
  const std::vector<double> expected = host_product();
  const Samples samples;
  std::vector<double> losses_alone;
  {
    tanul::Trainer trainer = make_trainer();
    for (int i = 0; i < 20; ++i)
      losses_alone.push_back(trainer.step(samples.images, samples.labels));
  }

  std::atomic<bool> done{false};
  int64_t wrong = 0, products = 0;
  std::thread host([&] {
    while (!done || products < 5) {
      const std::vector<double> c = host_product();
      ++products;
      for (size_t i = 0; i < c.size(); ++i) {
        // Another number of threads may cut the sum elsewhere: k rounding errors of |a||b| ~ 1.
        if (!(std::abs(c[i] - expected[i]) <= kSize * 0x1p-52 * 64)) ++wrong;
      }
    }
  });
  std::vector<double> losses;
  tanul::Trainer trainer = make_trainer();
  for (int i = 0; i < 20; ++i) losses.push_back(trainer.step(samples.images, samples.labels));
  done = true;
  host.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(losses, losses_alone);
  EXPECT_EQ(openblas_get_num_threads(), 2);
}

// Two trainers in two threads of one program give what each gives alone.
TEST(HostProgram, TwoTrainersAtATime) {
  const Samples samples;
  const auto train = [&samples] {
    tanul::Trainer trainer = make_trainer();
    std::vector<double> losses;
    for (int i = 0; i < 20; ++i) losses.push_back(trainer.step(samples.images, samples.labels));
    return losses;
  };
  openblas_set_num_threads(2);
  const std::vector<double> alone = train();
  std::vector<double> first, second;
  std::thread other([&] { second = train(); });
  first = train();
  other.join();
  EXPECT_EQ(first, alone);
  EXPECT_EQ(second, alone);
  EXPECT_EQ(openblas_get_num_threads(), 2);
}

TEST(HostProgram, NothingIsPrinted) {
  std::fflush(nullptr);
  char name[] = "/tmp/tanul_host_XXXXXX";
  const int file = ::mkstemp(name);
  ASSERT_GE(file, 0);
  const int out = ::dup(1), err = ::dup(2);
  ::dup2(file, 1);
  ::dup2(file, 2);
  use_tanul();
  std::fflush(nullptr);
  ::dup2(out, 1);
  ::dup2(err, 2);
  struct stat status {};
  ::fstat(file, &status);
  std::string printed(static_cast<size_t>(status.st_size), '\0');
  EXPECT_EQ(::pread(file, printed.data(), printed.size(), 0), status.st_size);
  EXPECT_EQ(printed, "");
  for (int fd : {file, out, err}) ::close(fd);
  ::unlink(name);
}

TEST(HostProgram, SignalsAreLeftAlone) {
  const auto handlers = [] {
    std::vector<std::pair<void*, int>> all;
    for (int number = 1; number < NSIG; ++number) {
      struct sigaction action {};
      if (::sigaction(number, nullptr, &action) != 0) continue;
      all.emplace_back(reinterpret_cast<void*>(action.sa_sigaction), action.sa_flags);
    }
    return all;
  };
  ::signal(SIGUSR1, [](int) {});
  const auto mask = [] {
    sigset_t blocked;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
    std::vector<int> all;
    for (int number = 1; number < NSIG; ++number) all.push_back(sigismember(&blocked, number));
    return all;
  };
  const auto handlers_before = handlers();
  const auto mask_before = mask();
  use_tanul();
  EXPECT_EQ(handlers(), handlers_before);
  EXPECT_EQ(mask(), mask_before);
}

TEST(HostProgram, ProcessStateIsLeftAlone) {
  const auto state = [] {
    const mode_t umask = ::umask(0);
    ::umask(umask);
    std::vector<std::string> all = {std::setlocale(LC_ALL, nullptr), std::locale().name(),
                                    std::filesystem::current_path().string(),
                                    std::to_string(umask)};
    for (char** entry = environ; *entry != nullptr; ++entry) all.emplace_back(*entry);
    return all;
  };
  const auto before = state();
  const int random_before = [] {
    std::srand(7);
    return std::rand();
  }();
  std::srand(7);
  use_tanul();
  EXPECT_EQ(std::rand(), random_before);  // the host's own random numbers go on as they would have
  EXPECT_EQ(state(), before);
}

TEST(HostProgram, DescriptorsAndThreadsAreGivenBack) {
  const auto count = [](const char* folder) {
    return std::distance(std::filesystem::directory_iterator(folder), {});
  };
  use_tanul();  // OpenBLAS starts its threads once
  const auto files = count("/proc/self/fd");
  const auto threads = count("/proc/self/task");
  use_tanul();
  EXPECT_EQ(count("/proc/self/fd"), files);
  EXPECT_EQ(count("/proc/self/task"), threads);
}

#if defined(__x86_64__)
TEST(HostProgram, FloatingPointModesAreLeftAlone) {
  constexpr unsigned kStatusFlags = 0x3f;  // sticky exception flags are allowed to be raised
  constexpr unsigned kFlushToZero = 0x8040;
  const unsigned usual = _mm_getcsr() & ~kStatusFlags;
  for (unsigned modes : {usual, usual | kFlushToZero}) {
    for (int rounding : {FE_TONEAREST, FE_UPWARD}) {
      _mm_setcsr(modes);
      std::fesetround(rounding);
      const unsigned before = _mm_getcsr() & ~kStatusFlags;
      use_tanul();
      EXPECT_EQ(_mm_getcsr() & ~kStatusFlags, before);
      EXPECT_EQ(std::fegetround(), rounding);
    }
  }
  _mm_setcsr(usual);
  std::fesetround(FE_TONEAREST);
}
#endif

// A host whose numbers have a decimal comma: what tanul reads and writes has a point all the same.
TEST(HostProgram, DecimalCommaChangesNothing) {
  const char* recipe =
      "name = \"m\"\ninput = [1, 8, 8]\nlayers = [\"flatten\", { linear = { out = 2 } }]\n"
      "loss = \"softmax_cross_entropy\"\n[train]\noptimizer = { sgd = { lr = 0.0625 } }\n";
  const std::string resolved = tanul::parse_recipe(recipe, "m.toml").resolved_toml;
  const std::string init = tanul::Init::normal(0.5, 1.5).str();

  struct Comma : std::numpunct<char> {
    char do_decimal_point() const override { return ','; }
    char do_thousands_sep() const override { return '.'; }
    std::string do_grouping() const override { return "\3"; }
  };
  const std::locale before = std::locale::global(std::locale(std::locale(), new Comma));
  std::string c_before = std::setlocale(LC_ALL, nullptr);
  for (const char* name : {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8"}) {
    if (std::setlocale(LC_NUMERIC, name) != nullptr) break;  // where the machine has one
  }
  EXPECT_EQ(tanul::parse_recipe(recipe, "m.toml").resolved_toml, resolved);
  EXPECT_EQ(tanul::Init::normal(0.5, 1.5).str(), init);
  use_tanul();
  std::setlocale(LC_ALL, c_before.c_str());
  std::locale::global(before);
}

}  // namespace
