#include "bucket.hpp"

#include <sys/stat.h>

#include <fstream>

namespace nullserver {
namespace {

namespace fs = std::filesystem;

// Manifests (5 MiB for 10,000 files), pointers and small files are served again; larger bodies only as files.
constexpr std::uint64_t memory_bytes_max = 8 << 20;
constexpr auto scratch = ".nullserver";

void discard(const Object& object) {
    if (!object.file.empty()) {
        std::error_code ignored;
        fs::remove(object.file, ignored);
    }
}

}  // namespace

Buckets::Buckets(fs::path root, bool keep) : root_(std::move(root)), keep_(keep) {
    if (root_.empty()) {
        return;
    }
    for (const auto& bucket : fs::directory_iterator(root_)) {
        if (!bucket.is_directory() || bucket.path().filename() == scratch) {
            continue;
        }
        auto& objects = objects_[bucket.path().filename()];
        for (const auto& entry : fs::recursive_directory_iterator(bucket)) {
            struct stat found {};
            if (!entry.is_regular_file() || stat(entry.path().c_str(), &found) != 0) {
                continue;
            }
            Object object;
            object.size = static_cast<std::uint64_t>(found.st_size);
            object.etag = new_etag(object.size);
            object.modified = found.st_mtime;
            object.file = entry.path();
            objects[fs::relative(entry.path(), bucket.path())] = object;
        }
    }
    fs::create_directories(root_ / scratch);
}

std::optional<Object> Buckets::find(const std::string& bucket, const std::string& key) const {
    const std::lock_guard lock(mutex_);
    const auto objects = objects_.find(bucket);
    if (objects == objects_.end()) {
        return std::nullopt;
    }
    const auto found = objects->second.find(key);
    return found == objects->second.end() ? std::nullopt : std::optional(found->second);
}

Outcome Buckets::put(const std::string& bucket, const std::string& key, Object object, const Condition& condition) {
    const std::lock_guard lock(mutex_);
    auto& objects = objects_[bucket];
    const auto found = objects.find(key);
    const Outcome outcome = condition.absent && found != objects.end()            ? Outcome::exists
                            : condition.etag.empty()                              ? Outcome::stored
                            : found == objects.end()                              ? Outcome::missing
                            : found->second.etag != condition.etag                ? Outcome::differs
                                                                                  : Outcome::stored;
    if (outcome != Outcome::stored) {
        discard(object);
        return outcome;
    }
    if (!object.file.empty()) {
        const fs::path place = root_ / bucket / key;
        fs::create_directories(place.parent_path());
        fs::rename(object.file, place);
        object.file = place;
    }
    objects[key] = std::move(object);
    return Outcome::stored;
}

void Buckets::erase(const std::string& bucket, const std::string& key) {
    const std::lock_guard lock(mutex_);
    auto& objects = objects_[bucket];
    if (const auto found = objects.find(key); keep_ && found != objects.end()) {
        discard(found->second);
    }
    objects.erase(key);
}

std::vector<std::pair<std::string, Object>> Buckets::list(const std::string& bucket, const std::string& prefix,
                                                          const std::string& marker, std::size_t limit) const {
    const std::lock_guard lock(mutex_);
    std::vector<std::pair<std::string, Object>> found;
    const auto objects = objects_.find(bucket);
    if (objects == objects_.end()) {
        return found;
    }
    auto at = marker < prefix ? objects->second.lower_bound(prefix) : objects->second.upper_bound(marker);
    for (; at != objects->second.end() && at->first.starts_with(prefix) && found.size() < limit; ++at) {
        found.push_back(*at);
    }
    return found;
}

std::string Buckets::start(Upload upload) {
    const std::lock_guard lock(mutex_);
    const std::string id = "upload-" + std::to_string(++count_);
    uploads_[id] = std::move(upload);
    return id;
}

std::optional<Upload> Buckets::upload(const std::string& id) const {
    const std::lock_guard lock(mutex_);
    const auto found = uploads_.find(id);
    return found == uploads_.end() ? std::nullopt : std::optional(found->second);
}

std::vector<std::pair<std::string, Upload>> Buckets::uploads(const std::string& bucket,
                                                             const std::string& prefix) const {
    const std::lock_guard lock(mutex_);
    std::vector<std::pair<std::string, Upload>> found;
    for (const auto& item : uploads_) {
        if (item.second.bucket == bucket && item.second.key.starts_with(prefix)) {
            found.push_back(item);
        }
    }
    return found;
}

bool Buckets::put_part(const std::string& id, unsigned number, Object part) {
    const std::lock_guard lock(mutex_);
    const auto found = uploads_.find(id);
    if (found == uploads_.end()) {
        return false;
    }
    found->second.parts[number] = std::move(part);
    return true;
}

void Buckets::end(const std::string& id) {
    const std::lock_guard lock(mutex_);
    uploads_.erase(id);
}

Object Buckets::hold(std::string data) {
    Object object = drop(data.size());
    if (keep_) {
        object.file = root_ / scratch / object.etag.substr(1, object.etag.size() - 2);
        std::ofstream(object.file, std::ios::binary) << data;
    } else {
        object.data = std::make_shared<const std::string>(std::move(data));
    }
    return object;
}

Object Buckets::drop(std::uint64_t size) {
    const std::lock_guard lock(mutex_);
    Object object;
    object.size = size;
    object.etag = new_etag(size);
    object.modified = std::time(nullptr);
    return object;
}

Object Buckets::joined(const Upload& upload) {
    std::uint64_t size = 0;
    for (const auto& [number, part] : upload.parts) {
        size += part.size;
    }
    Object object = drop(size);
    if (keep_) {
        object.file = root_ / scratch / object.etag.substr(1, object.etag.size() - 2);
        std::ofstream out(object.file, std::ios::binary);
        for (const auto& [number, part] : upload.parts) {
            out << std::ifstream(part.file, std::ios::binary).rdbuf();
            fs::remove(part.file);
        }
    }
    return object;
}

bool Buckets::keeps(std::uint64_t size, bool is_part) const noexcept {
    return keep_ || (!is_part && size <= memory_bytes_max);
}

// Unique, and with a dash: nobody takes it for the MD5 of the bytes.
std::string Buckets::new_etag(std::uint64_t size) {
    return "\"null-" + std::to_string(++count_) + "-" + std::to_string(size) + "\"";
}

}  // namespace nullserver
