// SHA-256 of every file under a directory through a pool, in the output format of sha256sum.
#include <fcntl.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <memory>
#include <prefork/prefork.hpp>
#include <stdexcept>
#include <string>
#include <vector>

namespace pf = prefork;
namespace fs = std::filesystem;

struct checksum {
    std::array<unsigned char, 32> digest{};
    std::uint64_t bytes = 0;
    int error = 0;
};

// Made before the pool, so every worker has it and no name needs to be sent.
std::vector<std::string> files;

checksum hash_file(const std::string& path) {
    checksum result;
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) return {{}, 0, errno};
    const std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> hash{EVP_MD_CTX_new(),
                                                                  EVP_MD_CTX_free};
    EVP_DigestInit_ex(hash.get(), EVP_sha256(), nullptr);
    static std::array<char, 256 * 1024> buffer;
    ssize_t size = 0;
    while ((size = ::read(file, buffer.data(), buffer.size())) != 0) {
        if (size < 0 && errno == EINTR) continue;
        if (size < 0) {
            result.error = errno;
            break;
        }
        EVP_DigestUpdate(hash.get(), buffer.data(), static_cast<std::size_t>(size));
        result.bytes += static_cast<std::uint64_t>(size);
    }
    ::close(file);
    EVP_DigestFinal_ex(hash.get(), result.digest.data(), nullptr);
    return result;
}

std::vector<checksum> hash_range(std::size_t first, std::size_t last) {
    std::vector<checksum> results;
    for (std::size_t i = first; i < last; ++i) results.push_back(hash_file(files[i]));
    return results;
}

void complain(const std::string& about, const std::string& why) {
    std::cerr << "checksum: " << about << ": " << why << '\n';
}

// Into `found`, and false if a directory can't be read; the others are.
bool list_files(const fs::path& directory, std::vector<std::string>& found) {
    bool complete = true;
    std::error_code error;
    std::error_code ignored;
    fs::directory_iterator at{directory, error};
    for (const fs::directory_iterator end; !error && at != end; at.increment(error)) {
        if (at->is_symlink(ignored)) continue;
        if (at->is_directory(ignored)) {
            complete &= list_files(at->path(), found);
        } else if (at->is_regular_file(ignored)) {
            found.push_back(at->path());
        }
    }
    if (!error) return complete;
    complain(directory, error.message());
    return false;
}

// To standard output, and why that failed where it first did.
int output_error = 0;

void put(const std::string& text) {
    if (!std::cout) return;
    errno = 0;
    if (!(std::cout << text)) output_error = errno;
}

// Everything that was put has arrived.
bool written() {
    errno = 0;
    if (std::cout.flush()) return true;
    complain("standard output", std::strerror(output_error != 0 ? output_error : errno));
    return false;
}

// As sha256sum prints it: a backslash in front says that the name is escaped.
void print(const std::string& name, const checksum& sum) {
    static constexpr char digits[] = "0123456789abcdef";
    std::string line;
    std::string shown;
    for (const char c : name) {
        if (c == '\n') shown += "\\n";
        if (c == '\r') shown += "\\r";
        if (c == '\\') shown += "\\\\";
        if (c != '\n' && c != '\r' && c != '\\') shown += c;
    }
    if (shown != name) line += '\\';
    for (const unsigned char byte : sum.digest) line += {digits[byte >> 4], digits[byte & 15]};
    put(line + "  " + shown + '\n');
}

void show_progress(std::size_t done, std::size_t all) {
    const std::size_t width = all == 0 ? 40 : done * 40 / all;
    std::fprintf(stderr, "\r[%-40.*s] %zu of %zu files%s", static_cast<int>(width),
                 "########################################", done, all, done == all ? "\n" : "");
}

double seconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Of all `files`, in their order; false if one can't be read.
bool print_checksums(unsigned workers, bool quiet) {
    pf::pool pool{{.workers = workers, .name = "checksum"}};
    const unsigned used = workers != 0 ? workers : pf::usable_cpus();
    double alone = 0;
    if (!quiet) {
        // What the summary compares: both passes find the files in the page cache, which the first
        // of these two fills.
        hash_range(0, files.size());
        const auto start = std::chrono::steady_clock::now();
        hash_range(0, files.size());
        alone = seconds_since(start);
    }

    const auto start = std::chrono::steady_clock::now();
    // Sixteen ranges a worker: a range of large files doesn't leave the others idle for long.
    std::vector<pf::future<std::vector<checksum>>> parts;
    for (auto [first, last] : pf::ranges(files.size(), {.workers = used * 16})) {
        parts.push_back(pool.submit(hash_range, first, last));
    }

    const bool bar = !quiet && ::isatty(STDERR_FILENO) == 1;
    bool complete = true;
    std::uint64_t bytes = 0;
    std::size_t done = 0;
    for (auto& part : parts) {
        for (const checksum& sum : part.get()) {
            const std::string& name = files[done++];
            bytes += sum.bytes;
            if (sum.error == 0) {
                print(name, sum);
            } else {
                complain(name, std::strerror(sum.error));
                complete = false;
            }
        }
        if (bar) show_progress(done, files.size());
    }
    if (!quiet) {
        std::fprintf(stderr,
                     "%zu files, %.1f MB, in the page cache: %u workers %.2f s, sequentially "
                     "%.2f s\n",
                     files.size(), static_cast<double>(bytes) / 1e6, used, seconds_since(start),
                     alone);
    }
    return complete;
}

int main(int count, char** values) {
    CLI::App app{"SHA-256 of every file under a directory, by a pool of processes"};
    std::string directory = "/usr/include";
    bool quiet = false;
    bool list = false;
    unsigned workers = 0;
    app.add_option("directory", directory, "where to look")->capture_default_str();
    app.add_flag("-q,--quiet", quiet, "no progress bar, no summary");
    app.add_flag("--list", list, "only the names, each ended by a zero byte");
    app.add_option("-w,--workers", workers, "processes; 0: one per usable CPU");
    CLI11_PARSE(app, count, values);

    bool complete = list_files(directory, files);
    std::sort(files.begin(), files.end());
    if (list) {
        for (const std::string& name : files) put(name + '\0');
        return written() && complete ? 0 : 1;
    }

    try {
        complete &= print_checksums(workers, quiet);
    } catch (const std::invalid_argument& e) {
        complain("--workers", e.what());
        return 2;
    } catch (const std::exception& e) {
        complain("a range of files", e.what());
        return 1;
    }
    return written() && complete ? 0 : 1;
}
