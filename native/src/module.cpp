// The binding: the only file that knows Python. Everything else here compiles and is tested without it.
#include <Python.h>
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <string>
#include <vector>

#include "bentosync/crc64nvme.hpp"

namespace nb = nanobind;

namespace {

// The bytes of any object with a C-contiguous buffer, held as long as this lives.
class Buffer {
public:
    explicit Buffer(nb::handle object) {
        if (PyObject_GetBuffer(object.ptr(), &view_, PyBUF_SIMPLE) != 0) {
            throw nb::python_error();
        }
    }
    ~Buffer() { PyBuffer_Release(&view_); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;

    bentosync::Bytes bytes() const noexcept {
        return {static_cast<const std::uint8_t*>(view_.buf), static_cast<std::size_t>(view_.len)};
    }

private:
    Py_buffer view_{};
};

std::uint64_t crc64nvme(nb::handle data, std::uint64_t initial) {
    const Buffer buffer(data);
    const nb::gil_scoped_release unlocked;
    return bentosync::crc64nvme(buffer.bytes(), initial);
}

std::uint64_t crc64nvme_by(const std::string& name, nb::handle data, std::uint64_t initial) {
    for (const auto& way : bentosync::crc64nvme_ways()) {
        if (way.name == name && way.available()) {
            const Buffer buffer(data);
            const nb::gil_scoped_release unlocked;
            return bentosync::crc64nvme(buffer.bytes(), initial, way);
        }
    }
    throw nb::value_error(("no way to compute crc64nvme here is called " + name).c_str());
}

std::vector<std::string> crc64nvme_ways() {
    std::vector<std::string> names;
    for (const auto& way : bentosync::crc64nvme_ways()) {
        if (way.available()) {
            names.emplace_back(way.name);
        }
    }
    return names;
}

}  // namespace

NB_MODULE(_core, module) {
    module.def("crc64nvme", &crc64nvme, nb::arg("data"), nb::arg("initial") = 0);
    module.def("crc64nvme_by", &crc64nvme_by, nb::arg("way"), nb::arg("data"), nb::arg("initial") = 0);
    module.def("crc64nvme_ways", &crc64nvme_ways);
}
