#include "process/symbols.hpp"

#include <cxxabi.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "base/unique_fd.hpp"
#include "process/elf_note.hpp"

namespace prefork::process {
namespace {

/// The part of a file that the symbols of one section name.
struct extent {
    std::uint64_t offset = 0;
    std::uint64_t size = 0;
};

template <class T>
bool read_at(int fd, std::uint64_t offset, T* into, std::size_t count) {
    const auto want = static_cast<ssize_t>(count * sizeof(T));
    return ::pread(fd, into, count * sizeof(T), static_cast<off_t>(offset)) == want;
}

std::vector<ElfW(Shdr)> read_sections(int fd) {
    ElfW(Ehdr) header{};
    if (!read_at(fd, 0, &header, 1) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
        header.e_shentsize != sizeof(ElfW(Shdr))) {
        return {};
    }
    std::vector<ElfW(Shdr)> sections(header.e_shnum);
    if (!read_at(fd, header.e_shoff, sections.data(), sections.size())) return {};
    return sections;
}

}  // namespace

/// The functions of one file.
class symbols::table {
  public:
    explicit table(const loaded_object& of);
    /// -1: not to be had, or not the file that was loaded.
    [[nodiscard]] int file() const noexcept { return file_.get(); }

    struct hit {
        std::string name;
        std::uint64_t offset = 0;
    };
    [[nodiscard]] std::optional<hit> find(std::uint64_t address) const;

  private:
    [[nodiscard]] std::string build_id_of(const std::vector<ElfW(Shdr)>& sections) const;
    bool load(const std::vector<ElfW(Shdr)>& sections, ElfW(Word) type);

    base::unique_fd file_;
    std::uint64_t file_size_ = 0;
    std::vector<ElfW(Sym)> functions_;
    extent names_;
};

symbols::table::table(const loaded_object& of)
    : file_(::open(of.path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    struct stat about {};
    if (!file_ || ::fstat(file_.get(), &about) != 0 || !S_ISREG(about.st_mode)) {
        file_.reset();
        return;
    }
    file_size_ = static_cast<std::uint64_t>(about.st_size);
    const auto sections = read_sections(file_.get());
    if (build_id_of(sections) != of.build_id) {
        file_.reset();  // another file by now: its names would be wrong ones
        return;
    }
    // A stripped file still has those that other files may call.
    if (!load(sections, SHT_SYMTAB)) load(sections, SHT_DYNSYM);
}

std::string symbols::table::build_id_of(const std::vector<ElfW(Shdr)>& sections) const {
    constexpr std::uint64_t most = 64 * 1024;
    for (const ElfW(Shdr) & each : sections) {
        if (each.sh_type != SHT_NOTE || each.sh_size > most) continue;
        std::string notes(static_cast<std::size_t>(each.sh_size), '\0');
        if (!read_at(file_.get(), each.sh_offset, notes.data(), notes.size())) continue;
        if (std::string id = build_id_in(notes, each.sh_addralign); !id.empty()) return id;
    }
    return {};
}

bool symbols::table::load(const std::vector<ElfW(Shdr)>& sections, ElfW(Word) type) {
    const auto found = std::find_if(sections.begin(), sections.end(),
                                    [&](const auto& each) { return each.sh_type == type; });
    if (found == sections.end() || found->sh_link >= sections.size()) return false;
    if (found->sh_entsize != sizeof(ElfW(Sym)) || found->sh_size > file_size_) return false;
    functions_.resize(found->sh_size / sizeof(ElfW(Sym)));
    if (!read_at(file_.get(), found->sh_offset, functions_.data(), functions_.size())) {
        functions_.clear();
        return false;
    }
    std::erase_if(functions_, [](const ElfW(Sym) & each) {
        return ELF64_ST_TYPE(each.st_info) != STT_FUNC || each.st_shndx == SHN_UNDEF;
    });
    names_ = {sections[found->sh_link].sh_offset, sections[found->sh_link].sh_size};
    return !functions_.empty();
}

std::optional<symbols::table::hit> symbols::table::find(std::uint64_t address) const {
    const auto found = std::find_if(functions_.begin(), functions_.end(), [&](const auto& each) {
        return each.st_value <= address && address - each.st_value < each.st_size;
    });
    if (found == functions_.end() || found->st_name >= names_.size) return std::nullopt;
    // Mangled names of templates are long; what is longer is cut, and stays mangled.
    std::array<char, 4096> name{};
    const auto room = std::min<std::uint64_t>(name.size() - 1, names_.size - found->st_name);
    if (!read_at(file_.get(), names_.offset + found->st_name, name.data(),
                 static_cast<std::size_t>(room))) {
        return std::nullopt;
    }
    return hit{name.data(), address - found->st_value};
}

namespace {

// The names by which everybody knows them.
std::string shortened(std::string name) {
    constexpr std::pair<std::string_view, std::string_view> known[] = {
        {"std::__cxx11::basic_string<char, std::char_traits<char>, std::allocator<char> >",
         "std::string"},
        {"std::basic_string_view<char, std::char_traits<char> >", "std::string_view"},
    };
    for (const auto& [long_name, short_name] : known) {
        for (auto at = name.find(long_name); at != std::string::npos;
             at = name.find(long_name, at + short_name.size())) {
            name.replace(at, long_name.size(), short_name);
        }
    }
    return name;
}

std::string demangled(std::string name) {
    // What the optimiser made of the function, ".isra.0" or ".cold", is no name in the source.
    if (const auto dot = name.find('.', 1); dot != std::string::npos) name.resize(dot);
    int status = 0;
    char* const text = abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status);
    if (text == nullptr) return name;
    std::string readable = text;
    std::free(text);
    return shortened(std::move(readable));
}

}  // namespace

symbols::symbols() = default;
symbols::~symbols() = default;

std::vector<symbol> symbols::at(const loaded_object& of, std::uint64_t address) {
    auto& known = tables_[of.path];
    if (!known) known = std::make_unique<table>(of);
    std::vector<symbol> found;
    if (known->file() >= 0) {
        for (source_place& each : lines_.at(of, known->file(), address)) {
            symbol made;
            made.function = demangled(std::move(each.function));
            made.file = std::move(each.file);
            made.line = each.line;
            made.inlined = each.inlined;
            found.push_back(std::move(made));
        }
    }
    if (found.empty()) found.emplace_back();
    for (symbol& each : found) {
        each.object = of.name;
        each.object_offset = address - of.bias;
    }
    if (const auto function = known->find(address - of.bias)) {
        found.back().function = demangled(function->name);
        found.back().function_offset = function->offset;
    }
    return found;
}

std::string function_at(std::uint64_t address) {
    const auto object = object_at(address);
    if (!object) return {};
    symbols known;
    return known.at(*object, address).back().function;
}

}  // namespace prefork::process
