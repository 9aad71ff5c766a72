// SPDX-License-Identifier: Apache-2.0
#include "support/http_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <stdexcept>
#include <utility>

namespace tanul::test {

HttpServer::HttpServer(Handler handler) : handler_(std::move(handler)) {
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  if (listener_ < 0 || ::bind(listener_, reinterpret_cast<sockaddr*>(&address), length) != 0 ||
      ::listen(listener_, 16) != 0 ||
      ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &length) != 0 ||
      ::pipe(stop_pipe_) != 0) {
    throw std::runtime_error("no local HTTP server");
  }
  port_ = ntohs(address.sin_port);
  thread_ = std::thread([this] { run(); });
}

HttpServer::~HttpServer() {
  const ssize_t ignored = ::write(stop_pipe_[1], "x", 1);
  static_cast<void>(ignored);
  thread_.join();
  for (const int fd : {listener_, stop_pipe_[0], stop_pipe_[1]}) ::close(fd);
}

std::string HttpServer::url(const std::string& path) const {
  return "http://127.0.0.1:" + std::to_string(port_) + path;
}

std::vector<HttpServer::Request> HttpServer::requests() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return requests_;
}

HttpServer::Reply HttpServer::serve(const Request& request, const std::string& file) {
  Reply reply;
  const auto size = static_cast<int64_t>(file.size());
  if (!request.has_range) {
    reply.body = file;
  } else if (request.range_start >= size) {
    reply.status = 416;
    reply.headers = "Content-Range: bytes */" + std::to_string(size) + "\r\n";
  } else {
    reply.status = 206;
    reply.headers = "Content-Range: bytes " + std::to_string(request.range_start) + "-" +
                    std::to_string(size - 1) + "/" + std::to_string(size) + "\r\n";
    reply.body = file.substr(static_cast<size_t>(request.range_start));
  }
  return reply;
}

bool HttpServer::is_stopping(int timeout_ms) const {
  pollfd stop{stop_pipe_[0], POLLIN, 0};
  return ::poll(&stop, 1, timeout_ms) > 0;
}

void HttpServer::run() {
  for (;;) {
    pollfd fds[2] = {{listener_, POLLIN, 0}, {stop_pipe_[0], POLLIN, 0}};
    if (::poll(fds, 2, -1) < 0) continue;
    if (fds[1].revents != 0) return;
    const int client = ::accept(listener_, nullptr, nullptr);
    if (client < 0) continue;
    answer(client);
    ::close(client);
  }
}

void HttpServer::answer(int client) {
  std::string head;
  char buffer[4096];
  while (head.find("\r\n\r\n") == std::string::npos) {
    const ssize_t got = ::recv(client, buffer, sizeof buffer, 0);
    if (got <= 0) return;
    head.append(buffer, static_cast<size_t>(got));
  }
  Request request;
  request.path = head.substr(4, head.find(' ', 4) - 4);
  const size_t range = head.find("Range: bytes=");
  if (range != std::string::npos) {
    request.has_range = true;
    request.range_start = std::strtoll(head.c_str() + range + 13, nullptr, 10);
  }
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    requests_.push_back(request);
  }

  const Reply reply = handler_(request);
  std::string bytes = "HTTP/1.1 " + std::to_string(reply.status) + " Said\r\n" + reply.headers;
  if (reply.has_length) bytes += "Content-Length: " + std::to_string(reply.body.size()) + "\r\n";
  bytes += "Connection: close\r\n\r\n";
  const bool is_whole = reply.send_bytes < 0;
  bytes += is_whole ? reply.body : reply.body.substr(0, static_cast<size_t>(reply.send_bytes));
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t put = ::send(client, bytes.data() + done, bytes.size() - done, MSG_NOSIGNAL);
    if (put <= 0) return;
    done += static_cast<size_t>(put);
  }
  if (is_whole || !reply.is_stalled) return;
  // Silent until the client hangs up or the test ends.
  while (!is_stopping(20)) {
    if (::recv(client, buffer, sizeof buffer, MSG_DONTWAIT) == 0) return;
  }
}

}  // namespace tanul::test
