#include "documents.hpp"

#include <algorithm>
#include <cctype>

#include "request.hpp"

namespace nullserver::documents {
namespace {

std::string escaped(std::string_view text) {
    std::string result;
    for (const char c : text) {
        switch (c) {
            case '&': result += "&amp;"; break;
            case '<': result += "&lt;"; break;
            case '>': result += "&gt;"; break;
            case '"': result += "&quot;"; break;
            default: result += c;
        }
    }
    return result;
}

std::string element(const std::string& name, const std::string& content) {
    return "<" + name + ">" + content + "</" + name + ">";
}

std::string document(const std::string& name, const std::string& content) {
    return "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<" + name + " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">" +
           content + "</" + name + ">";
}

std::string time_text(std::time_t moment, const char* format) {
    char text[64];
    std::tm parts{};
    gmtime_r(&moment, &parts);
    return {text, std::strftime(text, sizeof text, format, &parts)};
}

std::string iso_date(std::time_t moment) { return time_text(moment, "%Y-%m-%dT%H:%M:%S.000Z"); }

// x-amz-checksum-crc64nvme: v  ->  <ChecksumCRC64NVME>v</ChecksumCRC64NVME>
std::string checksums(const Object& object) {
    std::string result;
    for (const auto& [header, value] : object.checksums) {
        std::string name = header.substr(header.rfind('-') + 1);
        std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::toupper(c); });
        result += element("Checksum" + name, escaped(value));
    }
    return result;
}

}  // namespace

std::string http_date(std::time_t moment) { return time_text(moment, "%a, %d %b %Y %H:%M:%S GMT"); }

std::string error(std::string_view code) {
    return "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n" +
           element("Error", element("Code", std::string(code)) + element("Message", "null server"));
}

std::string objects(const Page& page) {
    const auto name = [&](const std::string& key) {
        return page.url_encoded ? percent_encoded(key, "/") : escaped(key);
    };
    std::string content = element("Name", page.bucket) + element("Prefix", name(page.prefix)) +
                          element("MaxKeys", "1000") + element("IsTruncated", page.next.empty() ? "false" : "true") +
                          element("KeyCount", std::to_string(page.objects.size() + page.folders.size()));
    if (page.url_encoded) {
        content += element("EncodingType", "url");
    }
    if (!page.next.empty()) {
        content += element("NextContinuationToken", escaped(page.next)) + element("NextMarker", name(page.next));
    }
    for (const auto& [key, object] : page.objects) {
        content += element("Contents", element("Key", name(key)) + element("Size", std::to_string(object.size)) +
                                           element("ETag", escaped(object.etag)) +
                                           element("LastModified", iso_date(object.modified)) +
                                           element("StorageClass", "STANDARD"));
    }
    for (const std::string& folder : page.folders) {
        content += element("CommonPrefixes", element("Prefix", name(folder)));
    }
    return document("ListBucketResult", content);
}

std::string started(const Upload& upload, const std::string& id) {
    return document("InitiateMultipartUploadResult", element("Bucket", upload.bucket) +
                                                         element("Key", escaped(upload.key)) + element("UploadId", id));
}

std::string completed(const Upload& upload, const Object& object) {
    return document("CompleteMultipartUploadResult",
                    element("Bucket", upload.bucket) + element("Key", escaped(upload.key)) +
                        element("ETag", escaped(object.etag)) + checksums(object));
}

std::string parts(const Upload& upload) {
    std::string content = element("IsTruncated", "false");
    for (const auto& [number, part] : upload.parts) {
        content += element("Part", element("PartNumber", std::to_string(number)) +
                                       element("Size", std::to_string(part.size)) +
                                       element("ETag", escaped(part.etag)) + checksums(part));
    }
    return document("ListPartsResult", content);
}

std::string uploads(const std::vector<std::pair<std::string, Upload>>& found) {
    std::string content = element("EncodingType", "url") + element("IsTruncated", "false");
    for (const auto& [id, upload] : found) {
        content += element("Upload", element("Key", percent_encoded(upload.key, "/")) + element("UploadId", id));
    }
    return document("ListMultipartUploadsResult", content);
}

std::string copied(const Object& object) {
    return document("CopyObjectResult",
                    element("ETag", escaped(object.etag)) + element("LastModified", iso_date(object.modified)));
}

std::string location() { return document("LocationConstraint", ""); }

}  // namespace nullserver::documents
