// The S3 operations that transfer tools use, over Buckets; and the counts that the benchmark reads.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>

#include "bucket.hpp"
#include "request.hpp"
#include "stream.hpp"
#include "weather.hpp"

namespace nullserver {

struct Reply {
    int status = 200;
    Headers headers;
    std::string body;
};

class Service {
public:
    Service(Buckets& buckets, Weather& weather) : buckets_(buckets), weather_(weather) {}

    // Serves requests until the connection ends.
    void serve(Stream& stream);

    // One JSON object: requests by kind, bytes of object bodies in and out, refusals.
    std::string counts() const;

private:
    void answer(Stream& stream, const Request& request, Body& body);
    Reply act(const Request& request, Body& body);
    void get(Stream& stream, const Request& request);
    void send_body(Stream& stream, const Object& object, std::uint64_t begin, std::uint64_t size);
    Reply put(const Request& request, Body& body);
    Reply complete(const Request& request, Body& body);
    Object received(const Request& request, Body& body);
    Reply list(const Request& request) const;
    Reply list_parts(const Request& request) const;
    Reply list_uploads(const Request& request) const;
    void count(const std::string& kind);

    Buckets& buckets_;
    Weather& weather_;
    mutable std::mutex mutex_;
    std::map<std::string, std::uint64_t> requests_;
    std::atomic<std::uint64_t> in_{0};
    std::atomic<std::uint64_t> out_{0};
};

}  // namespace nullserver
