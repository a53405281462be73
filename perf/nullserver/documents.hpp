// The XML that S3 answers with. Pure.
#pragma once

#include <ctime>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bucket.hpp"

namespace nullserver::documents {

struct Page {
    std::string bucket;
    std::string prefix;
    std::vector<std::pair<std::string, Object>> objects;
    std::vector<std::string> folders;
    std::string next;  // empty on the last page
    bool url_encoded = false;
};

std::string http_date(std::time_t moment);
std::string error(std::string_view code);
std::string objects(const Page& page);
std::string started(const Upload& upload, const std::string& id);
std::string completed(const Upload& upload, const Object& object);
std::string parts(const Upload& upload);
std::string uploads(const std::vector<std::pair<std::string, Upload>>& found);
std::string copied(const Object& object);
std::string location();

}  // namespace nullserver::documents
