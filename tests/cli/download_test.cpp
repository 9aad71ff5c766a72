// SPDX-License-Identifier: Apache-2.0
#include "cli/download.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/expect_error.h"
#include "support/http_server.h"
#include "support/temp_folder.h"

namespace tanul::cli {
namespace {

using test::expect_error;
using test::HttpServer;
using test::TempFolder;
using State = DownloadProgress::State;

class Download : public ::testing::Test {
 protected:
  static constexpr int64_t kBytes = 300000;

  Download() {
    uint32_t state = 7;
    while (content_.size() < kBytes) {
      state = state * 1664525u + 1013904223u;
      content_ += static_cast<char>(state >> 24);
    }
    sha256_ = sha256_of_file(scratch_.write("content", content_));
  }

  RemoteFile remote(const std::vector<std::string>& urls, int64_t bytes = kBytes) const {
    return {"x.gz", sha256_, bytes, urls};
  }
  DownloadOptions options() {
    DownloadOptions options;
    options.folder = folder_ / "data";
    options.connect_timeout_s = 2.0;
    options.stall_timeout_s = 0.5;
    options.retries = 2;
    options.retry_delay_s = 0.01;
    options.progress = [this](const DownloadProgress& progress) { reports_.push_back(progress); };
    return options;
  }
  void get(const std::vector<std::string>& urls) { download_dataset({remote(urls)}, options()); }

  // The file is there, whole, and nothing else is.
  void expect_fetched() const {
    EXPECT_EQ(folder_.read("data/x.gz"), content_);
    EXPECT_EQ(names(), std::set<std::string>{"x.gz"});
  }
  std::set<std::string> names() const {
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_ / "data")) {
      names.insert(entry.path().filename().string());
    }
    return names;
  }
  void put(const std::string& name, const std::string& bytes) const {
    std::filesystem::create_directories(folder_ / "data");
    folder_.write("data/" + name, bytes);
  }
  HttpServer::Handler honest() const {
    return [this](const HttpServer::Request& r) { return HttpServer::serve(r, content_); };
  }
  // Cuts every answer after `bytes`.
  HttpServer::Handler cutting(int64_t bytes, bool is_stalled = false) const {
    return [=, this](const HttpServer::Request& r) {
      HttpServer::Reply reply = HttpServer::serve(r, content_);
      if (static_cast<int64_t>(reply.body.size()) > bytes) reply.send_bytes = bytes;
      reply.is_stalled = is_stalled;
      return reply;
    };
  }
  static HttpServer::Handler status(int code) {
    return [code](const HttpServer::Request&) {
      return HttpServer::Reply{code, "", "<html>no such file</html>"};
    };
  }
  HttpServer::Handler wrong() const {
    std::string other = content_;
    other[1000] = static_cast<char>(other[1000] + 1);
    return [other](const HttpServer::Request& r) { return HttpServer::serve(r, other); };
  }

  const TempFolder scratch_;
  const TempFolder folder_;
  std::string content_;
  std::string sha256_;
  std::vector<DownloadProgress> reports_;
};

TEST_F(Download, Sha256IsTheStandardOne) {
  // FIPS 180-4 examples.
  EXPECT_EQ(sha256_of_file(scratch_.write("abc", "abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_of_file(scratch_.write("empty", "")),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  expect_error(Code::not_found, "none: no such file", [&] { sha256_of_file(scratch_ / "none"); });
}

TEST_F(Download, FetchesAndReports) {
  const HttpServer server(honest());
  get({server.url("/a/x.gz")});
  expect_fetched();
  ASSERT_FALSE(reports_.empty());
  EXPECT_EQ(reports_.back().state, State::finished);
  EXPECT_EQ(reports_.back().file, "x.gz");
  EXPECT_EQ(reports_.back().done, kBytes);
  EXPECT_EQ(server.requests().at(0).path, "/a/x.gz");
}

TEST_F(Download, KeepsAFileThatIsRight) {
  const HttpServer server(honest());
  put("x.gz", content_);
  get({server.url("/x.gz")});
  EXPECT_TRUE(server.requests().empty());
  ASSERT_EQ(reports_.size(), 1u);
  EXPECT_EQ(reports_[0].state, State::kept);
}

TEST_F(Download, AFileOfOtherContentIsReplacedOnlyWhenAsked) {
  const HttpServer server(honest());
  put("x.gz", "mine");
  expect_error(Code::exists, "x.gz: is there already with other content (SHA-256 ",
               [&] { get({server.url("/x.gz")}); });
  EXPECT_EQ(folder_.read("data/x.gz"), "mine");
  EXPECT_TRUE(server.requests().empty());

  DownloadOptions replacing = options();
  replacing.replace = true;
  download_dataset({remote({server.url("/x.gz")})}, replacing);
  expect_fetched();
}

TEST_F(Download, ResumesAfterACut) {
  const HttpServer server(cutting(120000));
  get({server.url("/x.gz")});
  expect_fetched();
  const auto requests = server.requests();
  ASSERT_EQ(requests.size(), 3u);
  EXPECT_FALSE(requests[0].has_range);
  EXPECT_EQ(requests[1].range_start, 120000);
  EXPECT_EQ(requests[2].range_start, 240000);
}

TEST_F(Download, ResumesAfterAStall) {
  const HttpServer server(cutting(160000, true));
  const auto start = std::chrono::steady_clock::now();
  get({server.url("/x.gz")});
  expect_fetched();
  EXPECT_EQ(server.requests().at(1).range_start, 160000);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
}

TEST_F(Download, ResumesAnEarlierCallsPart) {
  {
    const HttpServer server(cutting(90000));
    expect_error(Code::io, "the first 270000 bytes are kept and the next attempt resumes",
                 [&] { get({server.url("/x.gz")}); });
    EXPECT_EQ(names(), std::set<std::string>{"x.gz.part"});
  }
  const HttpServer server(honest());
  get({server.url("/x.gz")});
  expect_fetched();
  ASSERT_EQ(server.requests().size(), 1u);
  EXPECT_EQ(server.requests()[0].range_start, 270000);
}

TEST_F(Download, AWholePartNeedsNoRequest) {
  const HttpServer server(honest());
  put("x.gz.part", content_);
  get({server.url("/x.gz")});
  expect_fetched();
  EXPECT_TRUE(server.requests().empty());
}

TEST_F(Download, AnotherMirrorContinuesWhatOneBegan) {
  const HttpServer first(cutting(50000));
  const HttpServer second(honest());
  get({first.url("/x.gz"), second.url("/x.gz")});
  expect_fetched();
  EXPECT_EQ(first.requests().size(), 3u);
  ASSERT_EQ(second.requests().size(), 1u);
  EXPECT_EQ(second.requests()[0].range_start, 150000);
}

TEST_F(Download, StartsOverWhereRangeIsIgnored) {
  int answers = 0;
  const HttpServer server([&](const HttpServer::Request&) {
    HttpServer::Reply reply;
    reply.body = content_;
    if (++answers == 1) reply.send_bytes = 100000;
    return reply;
  });
  get({server.url("/x.gz")});
  expect_fetched();
  EXPECT_TRUE(server.requests().at(1).has_range);
}

TEST_F(Download, StartsOverWhereAnotherRangeIsSent) {
  const HttpServer server([&](const HttpServer::Request& r) {
    HttpServer::Reply reply = HttpServer::serve(r, content_);
    if (r.has_range) reply.headers = "Content-Range: bytes 5-299999/300000\r\n";
    return reply;
  });
  put("x.gz.part", content_.substr(0, 1000));
  get({server.url("/x.gz")});
  expect_fetched();
  EXPECT_FALSE(server.requests().at(1).has_range);
}

TEST_F(Download, StartsOverWhereThePartIsLongerThanTheFile) {
  const HttpServer server(honest());
  put("x.gz.part", content_ + "more");
  get({server.url("/x.gz")});
  expect_fetched();
}

TEST_F(Download, AWrongPartIsThrownAwayAndTheMirrorTriedFromZero) {
  const HttpServer server(honest());
  put("x.gz.part", std::string(1000, 'w'));
  get({server.url("/x.gz")});
  expect_fetched();
  ASSERT_EQ(server.requests().size(), 2u);
  EXPECT_FALSE(server.requests()[1].has_range);
}

TEST_F(Download, AWrongFileLeadsToTheNextMirrorFromZero) {
  const HttpServer first(wrong());
  const HttpServer second(honest());
  get({first.url("/x.gz"), second.url("/x.gz")});
  expect_fetched();
  EXPECT_EQ(first.requests().size(), 1u);
  EXPECT_FALSE(second.requests().at(0).has_range);
}

TEST_F(Download, AWrongFileAloneLeavesNothing) {
  const HttpServer server(wrong());
  expect_error(
      Code::io,
      "/x.gz: no mirror delivered it: " + server.url("/x.gz") + ": wrong content (SHA-256 ",
      [&] { get({server.url("/x.gz")}); });
  EXPECT_TRUE(names().empty());
}

TEST_F(Download, AnEndlessFileIsStopped) {
  const HttpServer server([&](const HttpServer::Request&) {
    HttpServer::Reply reply;
    reply.body = content_ + content_;
    reply.has_length = false;
    return reply;
  });
  expect_error(Code::io, "wrong content: more than 300000 bytes",
               [&] { get({server.url("/x.gz")}); });
  EXPECT_TRUE(names().empty());
}

TEST_F(Download, AnEndWithoutLengthIsCaughtByTheSum) {
  const HttpServer first([&](const HttpServer::Request&) {
    HttpServer::Reply reply;
    reply.body = content_.substr(0, 5000);
    reply.has_length = false;
    return reply;
  });
  const HttpServer second(honest());
  get({first.url("/x.gz"), second.url("/x.gz")});
  expect_fetched();
}

TEST_F(Download, ErrorAnswersLeadToTheNextMirrorAtOnce) {
  const HttpServer missing(status(404));
  const HttpServer broken(status(500));
  const HttpServer good(honest());
  get({missing.url("/x.gz"), broken.url("/x.gz"), good.url("/x.gz")});
  expect_fetched();
  EXPECT_EQ(missing.requests().size(), 1u);
  EXPECT_EQ(broken.requests().size(), 1u);
  std::vector<std::string> messages;
  for (const DownloadProgress& report : reports_) {
    if (report.state == State::retrying) messages.push_back(report.message);
  }
  EXPECT_EQ(messages, (std::vector<std::string>{"HTTP 404", "HTTP 500"}));
}

TEST_F(Download, AnErrorAnswerLeavesThePartAsItWas) {
  const HttpServer missing(status(404));
  put("x.gz.part", content_.substr(0, 1000));
  expect_error(Code::io, "HTTP 404", [&] { get({missing.url("/x.gz")}); });
  EXPECT_EQ(folder_.read("data/x.gz.part"), content_.substr(0, 1000));
}

TEST_F(Download, FollowsARedirect) {
  const HttpServer target(honest());
  const HttpServer server([&](const HttpServer::Request&) {
    return HttpServer::Reply{302, "Location: " + target.url("/there") + "\r\n", "moved"};
  });
  get({server.url("/x.gz")});
  expect_fetched();
}

TEST_F(Download, WhenAllMirrorsFailEachReasonIsNamed) {
  const HttpServer missing(status(404));
  const HttpServer broken(status(503));
  const HttpServer stalling(cutting(0, true));
  std::string closed;
  {
    const HttpServer gone(honest());
    closed = gone.url("/x.gz");
  }
  try {
    get({missing.url("/x.gz"), broken.url("/x.gz"), stalling.url("/x.gz"), closed});
    FAIL() << "no error";
  } catch (const Error& e) {
    const std::string text = e.what();
    EXPECT_EQ(e.code(), Code::io);
    for (const std::string& part :
         {folder_ / "data/x.gz: no mirror delivered it: ", missing.url("/x.gz: HTTP 404"),
          broken.url("/x.gz: HTTP 503"),
          stalling.url("/x.gz: stalled: no data for 0.5 s (3 attempts)"), closed + ": "}) {
      EXPECT_NE(text.find(part), std::string::npos) << text << "\nlacks " << part;
    }
  }
  EXPECT_TRUE(names().empty());
  expect_error(Code::io, "none is known", [&] { get({}); });
}

TEST_F(Download, OtherProtocolsAreRefused) {
  const std::string source = scratch_ / "content";
  expect_error(Code::io, "no mirror delivered it", [&] { get({"file://" + source}); });
  EXPECT_TRUE(names().empty());
}

TEST_F(Download, AThrowingProgressGivesUp) {
  const HttpServer server(cutting(1000, true));
  DownloadOptions giving_up = options();
  giving_up.progress = [](const DownloadProgress& progress) {
    if (progress.state == State::running) throw std::runtime_error("enough");
  };
  EXPECT_THROW(download_dataset({remote({server.url("/x.gz")})}, giving_up), std::runtime_error);
  EXPECT_FALSE(folder_.has("data/x.gz"));
}

TEST_F(Download, FilesBeforeAFailingOneStay) {
  const HttpServer server([&](const HttpServer::Request& r) {
    return r.path == "/good" ? HttpServer::serve(r, content_) : HttpServer::Reply{404, "", ""};
  });
  RemoteFile good = remote({server.url("/good")});
  RemoteFile bad = remote({server.url("/bad")});
  bad.name = "y.gz";
  expect_error(Code::io, "y.gz: no mirror", [&] { download_dataset({good, bad}, options()); });
  expect_fetched();
}

TEST_F(Download, AnUnusableFolderIsNamed) {
  put("file", "x");
  DownloadOptions elsewhere = options();
  elsewhere.folder = folder_ / "data/file/below";
  expect_error(Code::io, "data/file/below: the folder cannot be made",
               [&] { download_dataset({remote({})}, elsewhere); });
}

TEST(RemoteDatasets, AreComplete) {
  for (const RemoteDataset& dataset : remote_datasets()) {
    ASSERT_EQ(dataset.files.size(), 4u) << dataset.name;
    std::set<std::string> sums;
    for (const RemoteFile& file : dataset.files) {
      EXPECT_EQ(file.sha256.size(), 64u);
      EXPECT_EQ(file.sha256.find_first_not_of("0123456789abcdef"), std::string::npos);
      sums.insert(file.sha256);
      EXPECT_GT(file.bytes, 0);
      EXPECT_GE(file.urls.size(), 2u);
      for (const std::string& url : file.urls) EXPECT_TRUE(url.ends_with("/" + file.name)) << url;
    }
    EXPECT_EQ(sums.size(), 4u);
  }
  EXPECT_EQ(find_remote_dataset("mnist").title, "MNIST");
  expect_error(Code::not_found,
               "no data set \"minst\" can be fetched; known are mnist, fashion-mnist",
               [] { find_remote_dataset("minst"); });
}

}  // namespace
}  // namespace tanul::cli
