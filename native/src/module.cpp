// The module, and the checksums in it. Bindings alone know Python; everything else here is built and tested without it.
#include <Python.h>
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <string>
#include <vector>

#include "bentosync/crc64nvme.hpp"
#include "buffer.hpp"

namespace nb = nanobind;

namespace {

std::uint64_t crc64nvme(nb::handle data, std::uint64_t initial) {
    const bentosync::Buffer buffer(data, PyBUF_SIMPLE);
    const nb::gil_scoped_release unlocked;
    return bentosync::crc64nvme(buffer.bytes(), initial);
}

std::uint64_t crc64nvme_by(const std::string& name, nb::handle data, std::uint64_t initial) {
    for (const auto& way : bentosync::crc64nvme_ways()) {
        if (way.name == name && way.available()) {
            const bentosync::Buffer buffer(data, PyBUF_SIMPLE);
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

#if defined(__linux__)
void bind_receiver(nb::module_& module);
#endif

NB_MODULE(_core, module) {
    module.def("crc64nvme", &crc64nvme, nb::arg("data"), nb::arg("initial") = 0);
    module.def("crc64nvme_by", &crc64nvme_by, nb::arg("way"), nb::arg("data"), nb::arg("initial") = 0);
    module.def("crc64nvme_ways", &crc64nvme_ways);
#if defined(__linux__)
    bind_receiver(module);
#endif
}
