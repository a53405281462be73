#include "service.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "documents.hpp"

namespace nullserver {
namespace {

constexpr std::size_t page_max = 1000;
constexpr std::uint64_t large_bytes_min = 1 << 20;

Reply refusal(int status, std::string_view code) { return {status, {}, documents::error(code)}; }

Reply refusal(Outcome outcome) {
    return outcome == Outcome::missing ? refusal(404, "NoSuchKey") : refusal(412, "PreconditionFailed");
}

std::string_view phrase(int status) {
    switch (status) {
        case 200: return "OK";
        case 204: return "No Content";
        case 206: return "Partial Content";
        case 304: return "Not Modified";
        case 404: return "Not Found";
        case 412: return "Precondition Failed";
        case 416: return "Range Not Satisfiable";
        case 503: return "Service Unavailable";
        default: return "Error";
    }
}

std::string head_text(int status, const Headers& headers, std::uint64_t length) {
    std::string text = "HTTP/1.1 " + std::to_string(status) + " " + std::string(phrase(status)) + "\r\n";
    for (const auto& [name, value] : headers) {
        text += name + ": " + value + "\r\n";
    }
    // Clients of every kind look for some of these.
    text += "Server: nullserver\r\nDate: " + documents::http_date(std::time(nullptr)) +
            "\r\nx-amz-request-id: 0000000000000000\r\n";
    if (status != 204 && status != 304) {
        text += "Content-Length: " + std::to_string(length) + "\r\n";
    }
    return text + "\r\n";
}

Headers starting_with(const Request& request, std::string_view prefix) {
    Headers found;
    for (const auto& [name, value] : request.headers) {
        if (name.starts_with(prefix)) {
            found[name] = value;
        }
    }
    return found;
}

Headers description(const Request& request) {
    Headers found = starting_with(request, "x-amz-meta-");
    if (const std::string type = request.header("content-type"); !type.empty()) {
        found["content-type"] = type;
    }
    return found;
}

Headers checksums(const Request& request) {
    Headers found = starting_with(request, "x-amz-checksum-");
    for (const auto* name : {"x-amz-checksum-type", "x-amz-checksum-mode", "x-amz-checksum-algorithm"}) {
        found.erase(name);
    }
    return found;
}

Condition condition(const Request& request) {
    return {request.header("if-none-match") == "*", request.header("if-match")};
}

Headers described(const Object& object) {
    Headers headers = object.described;
    headers["ETag"] = object.etag;
    headers["Last-Modified"] = documents::http_date(object.modified);
    headers["Accept-Ranges"] = "bytes";
    return headers;
}

struct Range {
    std::uint64_t begin = 0;
    std::uint64_t size = 0;
    bool partial = false;
    bool possible = true;
};

// `bytes=first-last`, `bytes=first-` and `bytes=-count`; anything else means the whole object.
Range range_of(const Request& request, std::uint64_t size) {
    const std::string text = request.header("range");
    const std::size_t dash = text.find('-');
    if (!text.starts_with("bytes=") || dash == std::string::npos) {
        return {0, size};
    }
    std::uint64_t first = 0;
    std::uint64_t last = size - 1;
    const char* const end = text.data() + text.size();
    const bool has_first = std::from_chars(text.data() + 6, end, first).ec == std::errc();
    const bool has_last = std::from_chars(text.data() + dash + 1, end, last).ec == std::errc();
    if (!has_first && has_last) {
        first = size - std::min(last, size);
        last = size - 1;
    }
    last = std::min(last, size - 1);
    if (size == 0 || first > last) {
        return {0, 0, true, false};
    }
    return {first, last - first + 1, true};
}

class File {
public:
    explicit File(const std::filesystem::path& path) : descriptor_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
        if (descriptor_ < 0) {
            throw Closed{};
        }
    }
    ~File() { close(descriptor_); }
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    int descriptor() const noexcept { return descriptor_; }

private:
    int descriptor_;
};

}  // namespace

void Service::serve(Stream& stream) {
    while (const std::optional<Request> request = read_request(stream)) {
        {
            const Weather::Request served(weather_);
            Body body(stream, *request);
            answer(stream, *request, body);
        }
        stream.flush();
        if (!request->keeps_alive()) {
            return;
        }
    }
}

void Service::answer(Stream& stream, const Request& request, Body& body) {
    weather_.round_trip();
    if (!request.key.empty() && weather_.refuses()) {
        count("refused");
        body.discard();
        const Reply reply = refusal(503, "SlowDown");
        stream.write(head_text(reply.status, {}, reply.body.size()) + (request.method == "HEAD" ? "" : reply.body));
        return;
    }
    if ((request.method == "GET" || request.method == "HEAD") && !request.key.empty() && !request.asks("uploadId")) {
        body.discard();
        get(stream, request);
        return;
    }
    const Reply reply = act(request, body);
    body.discard();
    stream.write(head_text(reply.status, reply.headers, reply.body.size()) + reply.body);
}

Reply Service::act(const Request& request, Body& body) {
    const std::string& method = request.method;
    if (method == "PUT") {
        return put(request, body);
    }
    if (method == "POST" && request.asks("uploads")) {
        count("CreateMultipartUpload");
        const Upload upload{request.bucket, request.key, description(request), {}};
        // As Amazon does: who checks a checksum repeats which.
        Headers repeated;
        for (const auto* name : {"x-amz-checksum-algorithm", "x-amz-checksum-type"}) {
            if (const std::string value = request.header(name); !value.empty()) {
                repeated[name] = value;
            }
        }
        return {200, repeated, documents::started(upload, buckets_.start(upload))};
    }
    if (method == "POST" && request.asks("uploadId")) {
        return complete(request, body);
    }
    if (method == "DELETE") {
        count("Delete");
        if (request.asks("uploadId")) {
            buckets_.end(request.parameter("uploadId"));
        } else {
            buckets_.erase(request.bucket, request.key);
        }
        return {204, {}, {}};
    }
    if (method == "GET" && request.asks("uploadId")) {
        return list_parts(request);
    }
    if (method == "GET" && request.asks("uploads")) {
        return list_uploads(request);
    }
    if (method == "GET" && request.asks("location")) {
        return {200, {}, documents::location()};
    }
    if (method == "GET") {
        count("List");
        return list(request);
    }
    return method == "HEAD" ? Reply{200, {}, {}} : refusal(501, "NotImplemented");
}

void Service::get(Stream& stream, const Request& request) {
    const bool head = request.method == "HEAD";
    count(head ? "Head" : "Get");
    const std::optional<Object> object = buckets_.find(request.bucket, request.key);
    const auto refuse = [&](int status, std::string_view code) {
        const Reply reply = refusal(status, code);
        const bool bodiless = head || status == 304;
        stream.write(head_text(status, {}, bodiless ? 0 : reply.body.size()) + (bodiless ? "" : reply.body));
    };
    if (!object) {
        refuse(404, "NoSuchKey");
        return;
    }
    if (const std::string wanted = request.header("if-match"); !wanted.empty() && wanted != object->etag) {
        refuse(412, "PreconditionFailed");
        return;
    }
    if (request.header("if-none-match") == object->etag) {
        refuse(304, "NotModified");
        return;
    }
    if (!head && object->dropped()) {
        refuse(501, "TheseBytesWereDropped");
        return;
    }
    const Range range = range_of(request, object->size);
    if (!range.possible) {
        refuse(416, "InvalidRange");
        return;
    }
    Headers headers = described(*object);
    if (range.partial) {
        headers["Content-Range"] = "bytes " + std::to_string(range.begin) + "-" +
                                   std::to_string(range.begin + range.size - 1) + "/" + std::to_string(object->size);
    } else if (!request.header("x-amz-checksum-mode").empty()) {
        headers.insert(object->checksums.begin(), object->checksums.end());
        if (!object->checksums.empty()) {
            headers["x-amz-checksum-type"] = "FULL_OBJECT";
        }
    }
    stream.write(head_text(range.partial ? 206 : 200, headers, range.size));
    if (!head) {
        send_body(stream, *object, range.begin, range.size);
    }
}

void Service::send_body(Stream& stream, const Object& object, std::uint64_t begin, std::uint64_t size) {
    if (object.data) {
        stream.write(std::string_view(*object.data).substr(begin, size));
    } else if (size > 0) {
        const File file(object.file);
        if (size >= large_bytes_min && weather_.stalls()) {
            count("stalled");
            stream.send_file(file.descriptor(), begin, size / 2);
            stream.hang();
        }
        stream.send_file(file.descriptor(), begin, size);
    }
    out_ += size;
}

Object Service::received(const Request& request, Body& body) {
    in_ += body.size();
    Object object;
    if (buckets_.keeps(body.size(), request.asks("partNumber"))) {
        object = buckets_.hold(body.read());
    } else {
        body.discard();
        object = buckets_.drop(body.size());
    }
    object.described = description(request);
    object.checksums = checksums(request);
    return object;
}

Reply Service::put(const Request& request, Body& body) {
    if (request.key.empty()) {
        return {200, {}, {}};  // CreateBucket
    }
    if (const std::string source = request.header("x-amz-copy-source"); !source.empty()) {
        return refusal(501, "NotImplemented");
    }
    Object object = received(request, body);
    Reply reply{200, object.checksums, {}};
    reply.headers["ETag"] = object.etag;
    if (request.asks("partNumber")) {
        count("UploadPart");
        const unsigned number = static_cast<unsigned>(std::stoul(request.parameter("partNumber", "0")));
        return buckets_.put_part(request.parameter("uploadId"), number, std::move(object)) ? reply
                                                                                           : refusal(404, "NoSuchUpload");
    }
    count("Put");
    const Outcome outcome = buckets_.put(request.bucket, request.key, std::move(object), condition(request));
    return outcome == Outcome::stored ? reply : refusal(outcome);
}

Reply Service::complete(const Request& request, Body& body) {
    count("CompleteMultipartUpload");
    body.read();
    const std::string id = request.parameter("uploadId");
    const std::optional<Upload> upload = buckets_.upload(id);
    if (!upload) {
        return refusal(404, "NoSuchUpload");
    }
    Object object = buckets_.joined(*upload);
    object.described = upload->described;
    object.checksums = checksums(request);
    const std::string document = documents::completed(*upload, object);
    const Outcome outcome = buckets_.put(request.bucket, request.key, std::move(object), condition(request));
    if (outcome != Outcome::stored) {
        return refusal(outcome);
    }
    buckets_.end(id);
    return {200, {}, document};
}

// ListObjects and ListObjectsV2. With a delimiter, every folder counts once.
Reply Service::list(const Request& request) const {
    documents::Page page;
    page.bucket = request.bucket;
    page.prefix = request.parameter("prefix");
    page.url_encoded = request.parameter("encoding-type") == "url";
    const std::string delimiter = request.parameter("delimiter");
    const std::size_t limit = std::min<std::size_t>(page_max, std::stoul(request.parameter("max-keys", "1000")));
    std::string marker = request.parameter("start-after", request.parameter("marker"));
    marker = request.parameter("continuation-token", marker);
    while (page.objects.size() + page.folders.size() < limit) {
        const std::size_t wanted = delimiter.empty() ? limit - page.objects.size() : 1;
        auto found = buckets_.list(request.bucket, page.prefix, marker, wanted);
        if (found.empty()) {
            return {200, {}, documents::objects(page)};
        }
        marker = found.back().first;
        const std::size_t cut =
            delimiter.empty() ? std::string::npos : marker.find(delimiter, page.prefix.size());
        if (cut == std::string::npos) {
            std::move(found.begin(), found.end(), std::back_inserter(page.objects));
        } else {
            page.folders.push_back(marker.substr(0, cut + delimiter.size()));
            marker = page.folders.back() + "\xff";  // behind everything in that folder
        }
    }
    if (!buckets_.list(request.bucket, page.prefix, marker, 1).empty()) {
        page.next = marker;
    }
    return {200, {}, documents::objects(page)};
}

Reply Service::list_parts(const Request& request) const {
    const std::optional<Upload> upload = buckets_.upload(request.parameter("uploadId"));
    return upload ? Reply{200, {}, documents::parts(*upload)} : refusal(404, "NoSuchUpload");
}

Reply Service::list_uploads(const Request& request) const {
    return {200, {}, documents::uploads(buckets_.uploads(request.bucket, request.parameter("prefix")))};
}

void Service::count(const std::string& kind) {
    const std::lock_guard lock(mutex_);
    ++requests_[kind];
}

std::string Service::counts() const {
    const std::lock_guard lock(mutex_);
    std::string text = "\"bytes_in\": " + std::to_string(in_) + ", \"bytes_out\": " + std::to_string(out_) +
                       ", \"requests\": {";
    for (const auto& [kind, count] : requests_) {
        text += (text.back() == '{' ? "\"" : ", \"") + kind + "\": " + std::to_string(count);
    }
    return text + "}";
}

}  // namespace nullserver
