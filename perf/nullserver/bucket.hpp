// What the server holds: objects by bucket and key, and multipart uploads in flight. Safe to use from many threads.
#pragma once

#include <cstdint>
#include <ctime>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace nullserver {

using Headers = std::map<std::string, std::string>;

// Where an object's bytes are: a file, memory, or nowhere, because they were counted and dropped.
struct Object {
    std::uint64_t size = 0;
    std::string etag;
    std::time_t modified = 0;
    Headers described;                          // content-type and x-amz-meta-*, as they came
    Headers checksums;                          // x-amz-checksum-*, as they came
    std::shared_ptr<const std::string> data;
    std::filesystem::path file;

    bool dropped() const { return size > 0 && !data && file.empty(); }
};

struct Upload {
    std::string bucket;
    std::string key;
    Headers described;
    std::map<unsigned, Object> parts;
};

// When a write may happen: `If-None-Match: *` or `If-Match: etag`.
struct Condition {
    bool absent = false;
    std::string etag;
};

enum class Outcome { stored, exists, missing, differs };

class Buckets {
public:
    // Every folder in `root` is a bucket, every file below it an object. With `keep`, bodies are written there too.
    Buckets(std::filesystem::path root, bool keep);

    std::optional<Object> find(const std::string& bucket, const std::string& key) const;
    Outcome put(const std::string& bucket, const std::string& key, Object object, const Condition& condition);
    void erase(const std::string& bucket, const std::string& key);
    // Up to `limit` keys after `marker`, in order.
    std::vector<std::pair<std::string, Object>> list(const std::string& bucket, const std::string& prefix,
                                                     const std::string& marker, std::size_t limit) const;

    std::string start(Upload upload);
    std::optional<Upload> upload(const std::string& id) const;
    std::vector<std::pair<std::string, Upload>> uploads(const std::string& bucket, const std::string& prefix) const;
    bool put_part(const std::string& id, unsigned number, Object part);
    void end(const std::string& id);

    // An object of these bytes: in memory when small, else in a file when bytes are kept.
    Object hold(std::string data);
    // An object of so many bytes that nobody will see again.
    Object drop(std::uint64_t size);
    // The parts, one behind the other.
    Object joined(const Upload& upload);

    // Whether a body is held rather than dropped; parts of a multipart upload are dropped whatever their size.
    bool keeps(std::uint64_t size, bool is_part) const noexcept;

private:
    std::string new_etag(std::uint64_t size);

    std::filesystem::path root_;
    bool keep_;
    mutable std::mutex mutex_;
    std::uint64_t count_ = 0;
    std::map<std::string, std::map<std::string, Object>> objects_;
    std::map<std::string, Upload> uploads_;
};

}  // namespace nullserver
