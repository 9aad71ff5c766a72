// SPDX-License-Identifier: Apache-2.0
// A small HTTP/1.1 server on 127.0.0.1 that misbehaves as it is told, for tests of downloads.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace tanul::test {

class HttpServer {
 public:
  struct Request {
    std::string path;         // "/a/file"
    int64_t range_start = 0;  // of "Range: bytes=N-"
    bool has_range = false;
  };
  struct Reply {
    int status = 200;
    std::string headers;      // further lines, each with \r\n
    std::string body;         // Content-Length is its size
    int64_t send_bytes = -1;  // after so many bytes of the body …
    bool is_stalled = false;  // … send nothing more; otherwise cut the connection. -1: send all
    bool has_length = true;   // false: no Content-Length, the end of the connection is the end
  };
  using Handler = std::function<Reply(const Request&)>;

  explicit HttpServer(Handler handler);
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;
  ~HttpServer();

  // "http://127.0.0.1:PORT" + path
  std::string url(const std::string& path) const;
  std::vector<Request> requests() const;

  // The honest answer: the whole file, or its rest where a range was asked for.
  static Reply serve(const Request& request, const std::string& file);

 private:
  void run();
  void answer(int client);
  bool is_stopping(int timeout_ms) const;

  Handler handler_;
  int listener_ = -1;
  int stop_pipe_[2] = {-1, -1};
  int port_ = 0;
  mutable std::mutex mutex_;
  std::vector<Request> requests_;
  std::thread thread_;
};

}  // namespace tanul::test
