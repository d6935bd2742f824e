#include "process/source_lines.hpp"

#include <prefork_source_lines.hpp>  // by lib/meson.build

#ifdef PREFORK_SOURCE_LINES
#include <dlfcn.h>
#include <dwarf.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwfl.h>
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <span>
#endif

namespace prefork::process {

#ifdef PREFORK_SOURCE_LINES
namespace {

/// What we call of libdw.so.1, whose interface is stable (since elfutils 0.158).
struct library {
    decltype(&::dwfl_begin) begin;
    decltype(&::dwfl_end) end;
    decltype(&::dwfl_report_begin_add) report_more;
    decltype(&::dwfl_report_elf) report_elf;
    decltype(&::dwfl_report_end) report_end;
    decltype(&::dwfl_module_build_id) build_id;
    decltype(&::dwfl_module_getdwarf) get_dwarf;
    decltype(&::dwfl_module_addrdie) unit_at;
    decltype(&::dwfl_module_nextcu) next_unit;
    decltype(&::dwarf_haspc) has_pc;
    decltype(&::dwarf_getscopes) scopes_at;
    decltype(&::dwarf_getscopes_die) scopes_of;
    decltype(&::dwarf_dieoffset) offset_of;
    decltype(&::dwarf_offdie) die_at;
    decltype(&::dwarf_getsrc_die) line_at;
    decltype(&::dwarf_linesrc) line_file;
    decltype(&::dwarf_lineno) line_number;
    decltype(&::dwarf_getsrcfiles) files_of;
    decltype(&::dwarf_filesrc) file_name;
    decltype(&::dwarf_tag) tag;
    decltype(&::dwarf_attr) attribute;
    decltype(&::dwarf_attr_integrate) attribute_of_origin;
    decltype(&::dwarf_formudata) number;
    decltype(&::dwarf_formstring) text;

    bool complete = false;
    library();
};

library::library() {
    void* const opened = ::dlopen("libdw.so.1", RTLD_NOW | RTLD_LOCAL);
    if (opened == nullptr) return;
    complete = true;
    const auto find = [&](auto& call, const char* name) {
        call = reinterpret_cast<std::remove_reference_t<decltype(call)>>(::dlsym(opened, name));
        complete &= call != nullptr;
    };
    find(begin, "dwfl_begin");
    find(end, "dwfl_end");
    find(report_more, "dwfl_report_begin_add");
    find(report_elf, "dwfl_report_elf");
    find(report_end, "dwfl_report_end");
    find(build_id, "dwfl_module_build_id");
    find(get_dwarf, "dwfl_module_getdwarf");
    find(unit_at, "dwfl_module_addrdie");
    find(next_unit, "dwfl_module_nextcu");
    find(has_pc, "dwarf_haspc");
    find(scopes_at, "dwarf_getscopes");
    find(scopes_of, "dwarf_getscopes_die");
    find(offset_of, "dwarf_dieoffset");
    find(die_at, "dwarf_offdie");
    find(line_at, "dwarf_getsrc_die");
    find(line_file, "dwarf_linesrc");
    find(line_number, "dwarf_lineno");
    find(files_of, "dwarf_getsrcfiles");
    find(file_name, "dwarf_filesrc");
    find(tag, "dwarf_tag");
    find(attribute, "dwarf_attr");
    find(attribute_of_origin, "dwarf_attr_integrate");
    find(number, "dwarf_formudata");
    find(text, "dwarf_formstring");
}

// Opened once, and kept: it registers things that must not go away.
const library& dw() {
    static const library only;
    return only;
}

// Not libdw's own search, which may ask a server on the network.
int find_debug_file(Dwfl_Module* module, void**, const char*, Dwarf_Addr, const char*, const char*,
                    GElf_Word, char** name) {
    const unsigned char* bytes = nullptr;
    GElf_Addr where = 0;
    const int size = dw().build_id(module, &bytes, &where);
    if (size < 2) return -1;
    const std::string id =
        hex_of({reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size)});
    const std::string path =
        "/usr/lib/debug/.build-id/" + id.substr(0, 2) + "/" + id.substr(2) + ".debug";
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file >= 0) *name = ::strdup(path.c_str());
    return file;
}

std::string text_of(Dwarf_Die* die, unsigned name) {
    Dwarf_Attribute attribute{};
    if (dw().attribute_of_origin(die, name, &attribute) == nullptr) return {};
    const char* const text = dw().text(&attribute);
    return text != nullptr ? text : "";
}

// As the compiler was given it, most of the time: relative to where it ran.
std::string full_path(Dwarf_Die* unit, const char* path) {
    if (path == nullptr) return {};
    const std::filesystem::path from{text_of(unit, DW_AT_comp_dir)};
    return (from / path).lexically_normal().string();
}

}  // namespace

class source_lines::session {
  public:
    session() {
        callbacks_.find_elf = [](Dwfl_Module*, void**, const char*, Dwarf_Addr, char**, Elf**) {
            return -1;
        };
        callbacks_.find_debuginfo = find_debug_file;
        if (dw().complete) dwfl_ = dw().begin(&callbacks_);
    }
    ~session() {
        if (dwfl_ != nullptr) dw().end(dwfl_);
    }
    session(const session&) = delete;
    session& operator=(const session&) = delete;

    std::vector<source_place> at(const loaded_object& of, int file, std::uint64_t address) {
        Dwfl_Module* const module = module_of(of, file);
        if (module == nullptr) return {};
        Dwarf_Addr bias = 0;
        Dwarf_Die* const unit = unit_with(module, address, bias);
        if (unit == nullptr) return {};
        std::vector<source_place> found = functions_at(module, unit, address, bias);
        if (found.empty()) found.emplace_back();
        if (Dwarf_Line* const line = dw().line_at(unit, address - bias)) {
            int number = 0;
            found.front().file = full_path(unit, dw().line_file(line, nullptr, nullptr));
            if (dw().line_number(line, &number) == 0) {
                found.front().line = static_cast<unsigned>(number);
            }
        }
        return found;
    }

  private:
    Dwfl_Module* module_of(const loaded_object& of, int file) {
        if (dwfl_ == nullptr || file < 0) return nullptr;
        const auto [known, is_new] = modules_.try_emplace(of.begin, nullptr);
        if (!is_new) return known->second;
        const int own = ::fcntl(file, F_DUPFD_CLOEXEC, 3);
        dw().report_more(dwfl_);
        known->second =
            dw().report_elf(dwfl_, of.name.c_str(), of.path.c_str(), own, of.bias, true);
        if (known->second == nullptr && own >= 0) ::close(own);
        dw().report_end(dwfl_, nullptr, nullptr);
        return known->second;
    }

    // clang leaves out the table by which a unit is found, so there each is asked.
    Dwarf_Die* unit_with(Dwfl_Module* module, std::uint64_t address, Dwarf_Addr& bias) {
        if (Dwarf_Die* const found = dw().unit_at(module, address, &bias)) return found;
        Dwarf_Die* each = nullptr;
        while ((each = dw().next_unit(module, each, &bias)) != nullptr) {
            if (dw().has_pc(each, address - bias) > 0) return each;
        }
        return nullptr;
    }

    std::vector<source_place> functions_at(Dwfl_Module* module, Dwarf_Die* unit,
                                           std::uint64_t address, Dwarf_Addr bias) {
        // The scopes by place, the innermost of which then gives those that it really lies in: for
        // an inlined function the former are the ones of its definition.
        Dwarf_Die* scopes = nullptr;
        int count = dw().scopes_at(unit, address - bias, &scopes);
        if (count <= 0) return {};
        Dwarf_Die innermost{};
        Dwarf* const all = dw().get_dwarf(module, &bias);
        const bool there = dw().die_at(all, dw().offset_of(&scopes[0]), &innermost) != nullptr;
        std::free(scopes);
        scopes = nullptr;
        count = there ? dw().scopes_of(&innermost, &scopes) : 0;
        if (count <= 0) return {};
        std::vector<source_place> found;
        source_place called_from;
        for (Dwarf_Die& scope : std::span{scopes, static_cast<std::size_t>(count)}) {
            const int tag = dw().tag(&scope);
            const bool inlined = tag == DW_TAG_inlined_subroutine;
            if (!inlined && tag != DW_TAG_subprogram) continue;
            found.push_back(std::move(called_from));
            found.back().function = name_of(&scope);
            found.back().inlined = inlined;
            if (!inlined) break;
            called_from = call_of(unit, &scope);
        }
        std::free(scopes);
        return found;
    }

    static std::string name_of(Dwarf_Die* function) {
        const std::string mangled = text_of(function, DW_AT_linkage_name);
        return mangled.empty() ? text_of(function, DW_AT_name) : mangled;
    }

    /// Where an inlined function was called.
    static source_place call_of(Dwarf_Die* unit, Dwarf_Die* inlined) {
        source_place place;
        Dwarf_Attribute attribute{};
        Dwarf_Word number = 0;
        if (dw().attribute(inlined, DW_AT_call_line, &attribute) != nullptr &&
            dw().number(&attribute, &number) == 0) {
            place.line = static_cast<unsigned>(number);
        }
        Dwarf_Files* files = nullptr;
        std::size_t count = 0;
        if (dw().attribute(inlined, DW_AT_call_file, &attribute) != nullptr &&
            dw().number(&attribute, &number) == 0 && dw().files_of(unit, &files, &count) == 0 &&
            number < count) {
            place.file = full_path(unit, dw().file_name(files, number, nullptr, nullptr));
        }
        return place;
    }

    Dwfl_Callbacks callbacks_{};
    Dwfl* dwfl_ = nullptr;
    std::map<std::uint64_t, Dwfl_Module*> modules_;
};

source_lines::source_lines() : session_(std::make_unique<session>()) {}
std::vector<source_place> source_lines::at(const loaded_object& of, int file,
                                           std::uint64_t address) {
    return session_->at(of, file, address);
}
bool has_source_lines() { return dw().complete; }

#else

class source_lines::session {};
source_lines::source_lines() = default;
std::vector<source_place> source_lines::at(const loaded_object&, int, std::uint64_t) { return {}; }
bool has_source_lines() { return false; }

#endif

source_lines::~source_lines() = default;

}  // namespace prefork::process
