// The module, and the checksums in it. Bindings alone know Python; everything else here is built and tested without it.
#include <Python.h>
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <string>
#include <vector>

#include "bentosync/crc64nvme.hpp"
#include "bentosync/xxh3.hpp"
#include "unlocked.hpp"

namespace nb = nanobind;

namespace {

template <typename Compute>
PyObject* over_buffer(PyObject* data, const Compute& compute) {
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) != 0) {
        return nullptr;
    }
    const bentosync::Bytes bytes{static_cast<const std::uint8_t*>(view.buf), static_cast<std::size_t>(view.len)};
    const std::uint64_t value = bentosync::unlocked([&] { return compute(bytes); });
    PyBuffer_Release(&view);
    return PyLong_FromUnsignedLongLong(value);
}

PyObject* crc64nvme(PyObject*, PyObject* arguments, PyObject* named) {
    static const char* names[] = {"data", "initial", nullptr};
    PyObject* data = nullptr;
    unsigned long long initial = 0;
    if (!PyArg_ParseTupleAndKeywords(arguments, named, "O|K", const_cast<char**>(names), &data, &initial)) {
        return nullptr;
    }
    return over_buffer(data, [initial](bentosync::Bytes bytes) { return bentosync::crc64nvme(bytes, initial); });
}

PyObject* crc64nvme_by(PyObject*, PyObject* arguments, PyObject* named) {
    static const char* names[] = {"way", "data", "initial", nullptr};
    const char* name = nullptr;
    PyObject* data = nullptr;
    unsigned long long initial = 0;
    if (!PyArg_ParseTupleAndKeywords(arguments, named, "sO|K", const_cast<char**>(names), &name, &data, &initial)) {
        return nullptr;
    }
    for (const auto& way : bentosync::crc64nvme_ways()) {
        if (way.name == name && way.available()) {
            return over_buffer(
                data, [initial, &way](bentosync::Bytes bytes) { return bentosync::crc64nvme(bytes, initial, way); });
        }
    }
    return PyErr_Format(PyExc_ValueError, "no way to compute crc64nvme here is called %s", name);
}

// As everybody's `xxh3_64` for blocks that are long enough; for the tests, which hold it against the xxhash package.
PyObject* xxh3_64_by(PyObject*, PyObject* arguments) {
    const char* name = nullptr;
    PyObject* data = nullptr;
    if (!PyArg_ParseTuple(arguments, "sO", &name, &data)) {
        return nullptr;
    }
    for (const auto& way : bentosync::xxh3_ways()) {
        if (way.name == name && way.available()) {
            return over_buffer(data, [&way](bentosync::Bytes bytes) {
                return bytes.size() < bentosync::xxh3_bytes_min ? 0 : way.digest(bytes);
            });
        }
    }
    return PyErr_Format(PyExc_ValueError, "no way to compute xxh3_64 here is called %s", name);
}

template <typename Function>
PyCFunction as_method(Function* function) {
    return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

PyMethodDef unlocking_functions[] = {
    {"crc64nvme", as_method(crc64nvme), METH_VARARGS | METH_KEYWORDS, nullptr},
    {"crc64nvme_by", as_method(crc64nvme_by), METH_VARARGS | METH_KEYWORDS, nullptr},
    {"xxh3_64_by", as_method(xxh3_64_by), METH_VARARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

std::vector<std::string> crc64nvme_ways() {
    std::vector<std::string> names;
    for (const auto& way : bentosync::crc64nvme_ways()) {
        if (way.available()) {
            names.emplace_back(way.name);
        }
    }
    return names;
}

std::vector<std::string> xxh3_ways() {
    std::vector<std::string> names;
    for (const auto& way : bentosync::xxh3_ways()) {
        if (way.available()) {
            names.emplace_back(way.name);
        }
    }
    return names;
}

}  // namespace

#if defined(__linux__)
void bind_receiver(nb::module_& module);
void bind_volley(nb::module_& module);
#endif

NB_MODULE(_core, module) {
    if (PyModule_AddFunctions(module.ptr(), unlocking_functions) != 0) {
        throw nb::python_error();
    }
    module.def("crc64nvme_ways", &crc64nvme_ways);
    module.def("xxh3_ways", &xxh3_ways);
#if defined(__linux__)
    bind_receiver(module);
    bind_volley(module);
#endif
}
