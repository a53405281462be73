#include "request.hpp"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <utility>

namespace nullserver {
namespace {

constexpr std::size_t head_bytes_max = 64 << 10;
constexpr std::size_t line_bytes_max = 8 << 10;

std::string lower(std::string_view text) {
    std::string result(text);
    std::transform(result.begin(), result.end(), result.begin(), [](unsigned char c) { return std::tolower(c); });
    return result;
}

std::string_view trimmed(std::string_view text) {
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) {
        text.remove_prefix(1);
    }
    while (!text.empty() && (text.back() == ' ' || text.back() == '\r')) {
        text.remove_suffix(1);
    }
    return text;
}

std::string decoded(std::string_view text, bool plus_is_space) {
    std::string result;
    for (std::size_t at = 0; at < text.size(); ++at) {
        unsigned value = 0;
        if (text[at] == '%' && at + 2 < text.size() &&
            std::from_chars(&text[at + 1], &text[at + 1] + 2, value, 16).ec == std::errc()) {
            result += static_cast<char>(value);
            at += 2;
        } else {
            result += plus_is_space && text[at] == '+' ? ' ' : text[at];
        }
    }
    return result;
}

std::uint64_t number(std::string_view text, int base = 10) {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (error != std::errc() || end == text.data()) {
        throw Closed{};
    }
    return value;
}

// Takes the next piece up to `separator` off the front of `text`.
std::string_view cut(std::string_view& text, std::string_view separator) {
    const std::size_t found = text.find(separator);
    const std::string_view piece = text.substr(0, found);
    text.remove_prefix(found == std::string_view::npos ? text.size() : found + separator.size());
    return piece;
}

void parse_target(std::string_view target, Request& request) {
    if (const std::size_t scheme = target.find("://"); !target.starts_with('/') && scheme != std::string_view::npos) {
        target.remove_prefix(std::min(target.size(), target.find('/', scheme + 3)));  // absolute form
    }
    std::string_view path = cut(target, "?");
    path.remove_prefix(path.starts_with('/') ? 1 : 0);
    request.bucket = decoded(cut(path, "/"), false);
    request.key = decoded(path, false);
    while (!target.empty()) {
        std::string_view pair = cut(target, "&");
        const std::string name = decoded(cut(pair, "="), true);
        request.query[name] = decoded(pair, true);
    }
}

// aws-chunked: `size[;chunk-signature=...] CRLF data CRLF` until size 0, then trailers.
std::string without_aws_chunks(std::string_view framed) {
    std::string data;
    while (const std::uint64_t size = number(cut(framed, "\r\n"), 16)) {
        data += framed.substr(0, size);
        framed.remove_prefix(std::min<std::size_t>(framed.size(), size + 2));
    }
    return data;
}

}  // namespace

std::string Request::parameter(const std::string& name, const std::string& otherwise) const {
    const auto found = query.find(name);
    return found == query.end() ? otherwise : found->second;
}

std::string Request::header(const std::string& name, const std::string& otherwise) const {
    const auto found = headers.find(name);
    return found == headers.end() ? otherwise : found->second;
}

bool Request::keeps_alive() const { return lower(header("connection")) != "close"; }

std::optional<Request> read_request(Stream& stream) {
    const std::optional<std::string> text = stream.read_until("\r\n\r\n", head_bytes_max);
    if (!text) {
        return std::nullopt;
    }
    std::string_view head = *text;
    std::string_view line = cut(head, "\r\n");
    Request request;
    request.method = cut(line, " ");
    parse_target(cut(line, " "), request);
    while (!head.empty()) {
        line = cut(head, "\r\n");
        const std::string name = lower(cut(line, ":"));
        if (!name.empty()) {
            request.headers[name] = trimmed(line);
        }
    }
    return request;
}

std::string percent_encoded(std::string_view text, std::string_view also_plain) {
    std::string result;
    for (const unsigned char c : text) {
        if (std::isalnum(c) || std::string_view("-_.~").find(static_cast<char>(c)) != std::string_view::npos ||
            also_plain.find(static_cast<char>(c)) != std::string_view::npos) {
            result += static_cast<char>(c);
        } else {
            constexpr std::string_view digits = "0123456789ABCDEF";
            result += {'%', digits[c >> 4], digits[c & 15]};
        }
    }
    return result;
}

Body::Body(Stream& stream, const Request& request) : stream_(stream) {
    chunked_ = lower(request.header("transfer-encoding")).find("chunked") != std::string::npos;
    aws_chunked_ = lower(request.header("content-encoding")).find("aws-chunked") != std::string::npos ||
                   request.header("x-amz-content-sha256").starts_with("STREAMING-");
    expects_ = lower(request.header("expect")) == "100-continue";
    framed_ = number(request.header("content-length", "0"));
    size_ = aws_chunked_ ? number(request.header("x-amz-decoded-content-length", "0")) : framed_;
}

void Body::begin() {
    if (expects_) {
        stream_.write("HTTP/1.1 100 Continue\r\n\r\n");
        stream_.flush();
    }
}

// Hands the size of every HTTP chunk to `take`, which takes so many bytes off the stream; skips the trailers.
template <typename Take>
void Body::each_chunk(Take take) {
    const auto line = [this] {
        const std::optional<std::string> text = stream_.read_until("\r\n", line_bytes_max);
        return text ? *text : throw Closed{};
    };
    while (const std::uint64_t size = number(line(), 16)) {
        take(size);
        line();
    }
    while (line() != "\r\n") {
    }
}

void Body::discard() {
    if (std::exchange(done_, true)) {
        return;
    }
    begin();
    if (chunked_) {
        each_chunk([this](std::uint64_t size) { stream_.discard(size); });
    } else {
        stream_.discard(framed_);
    }
}

std::string Body::read() {
    done_ = true;
    begin();
    std::string data;
    const auto take = [&](std::uint64_t size) {
        data.resize(data.size() + size);
        stream_.read(data.data() + data.size() - size, size);
    };
    if (chunked_) {
        each_chunk(take);
    } else {
        take(framed_);
    }
    return aws_chunked_ ? without_aws_chunks(data) : data;
}

}  // namespace nullserver
