// A request as S3 sees it: method, bucket, key, query, headers; and its body, framed in any of the three usual ways.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "stream.hpp"

namespace nullserver {

struct Request {
    std::string method;
    std::string bucket;
    std::string key;
    std::map<std::string, std::string> query;
    std::map<std::string, std::string> headers;  // names in lower case

    bool asks(const std::string& name) const { return query.contains(name); }
    std::string parameter(const std::string& name, const std::string& otherwise = "") const;
    std::string header(const std::string& name, const std::string& otherwise = "") const;
    bool keeps_alive() const;
};

// The next request on the connection; nothing when the other side has closed it. Throws Closed for what is not HTTP.
std::optional<Request> read_request(Stream& stream);

std::string percent_encoded(std::string_view text, std::string_view also_plain);

// The body of one request. Answers `Expect: 100-continue` before the first byte is taken.
class Body {
public:
    Body(Stream& stream, const Request& request);

    // Object bytes the client announced, without any framing.
    std::uint64_t size() const noexcept { return size_; }

    // Reads everything, the framing too, and drops it.
    void discard();

    // Reads everything; the object's bytes without any framing.
    std::string read();

private:
    void begin();
    template <typename Take>
    void each_chunk(Take take);

    Stream& stream_;
    std::uint64_t size_ = 0;
    std::uint64_t framed_ = 0;      // bytes on the wire, where Content-Length says
    bool chunked_ = false;          // Transfer-Encoding: chunked
    bool aws_chunked_ = false;      // Content-Encoding: aws-chunked, inside of it
    bool expects_ = false;
    bool done_ = false;
};

}  // namespace nullserver
