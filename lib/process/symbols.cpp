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
#include <vector>

#include "base/unique_fd.hpp"

namespace prefork::process {
namespace {

constexpr const char* this_program = "/proc/self/exe";

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
    explicit table(const std::string& path);

    struct hit {
        std::string name;
        std::uint64_t offset = 0;
    };
    [[nodiscard]] std::optional<hit> find(std::uint64_t address) const;

  private:
    bool load(const std::vector<ElfW(Shdr)>& sections, ElfW(Word) type);

    base::unique_fd file_;
    std::uint64_t file_size_ = 0;
    std::vector<ElfW(Sym)> functions_;
    extent names_;
};

symbols::table::table(const std::string& path)
    : file_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    struct stat about {};
    if (!file_ || ::fstat(file_.get(), &about) != 0 || !S_ISREG(about.st_mode)) return;
    file_size_ = static_cast<std::uint64_t>(about.st_size);
    const auto sections = read_sections(file_.get());
    // A stripped file still has those that other files may call.
    if (!load(sections, SHT_SYMTAB)) load(sections, SHT_DYNSYM);
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

struct mapped_object {
    std::uint64_t address;
    std::string path;
    std::uint64_t bias = 0;
};

int look_into(dl_phdr_info* info, std::size_t, void* argument) {
    auto& wanted = *static_cast<mapped_object*>(argument);
    for (int i = 0; i < info->dlpi_phnum; ++i) {
        const ElfW(Phdr)& part = info->dlpi_phdr[i];
        const std::uint64_t begin = info->dlpi_addr + part.p_vaddr;
        if (part.p_type != PT_LOAD || (part.p_flags & PF_X) == 0 || wanted.address < begin ||
            wanted.address - begin >= part.p_memsz) {
            continue;
        }
        // The program itself has no name here.
        wanted.path = info->dlpi_name[0] != '\0' ? info->dlpi_name : this_program;
        wanted.bias = info->dlpi_addr;
        return 1;
    }
    return 0;
}

std::string demangled(std::string name) {
    // What the optimiser made of the function, ".isra.0" or ".cold", is no name in the source.
    if (const auto dot = name.find('.', 1); dot != std::string::npos) name.resize(dot);
    int status = 0;
    char* const text = abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status);
    if (text == nullptr) return name;
    std::string readable = text;
    std::free(text);
    return readable;
}

std::string shown_path(const std::string& path) {
    if (path != this_program) return path;
    std::array<char, 4096> target{};
    const ssize_t size = ::readlink(this_program, target.data(), target.size());
    return size > 0 ? std::string(target.data(), static_cast<std::size_t>(size)) : path;
}

}  // namespace

symbols::symbols() = default;
symbols::~symbols() = default;

symbol symbols::at(std::uint64_t address) {
    mapped_object where{address, {}};
    if (::dl_iterate_phdr(look_into, &where) == 0) return {};
    auto& known = tables_[where.path];
    if (!known) known = std::make_unique<table>(where.path);
    symbol result;
    result.object = shown_path(where.path);
    result.object_offset = address - where.bias;
    if (const auto found = known->find(address - where.bias)) {
        result.function = demangled(found->name);
        result.function_offset = found->offset;
    }
    return result;
}

}  // namespace prefork::process
