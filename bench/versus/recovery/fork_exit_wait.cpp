// What the kernel takes for a small process's whole life: fork, exit, wait.
#include <sys/wait.h>
#include <unistd.h>

#include "workload.hpp"

int main(int argc, char** argv) {
    using namespace prefork::versus;
    return measure(argc, argv, [] {
        return timed([] {
            int status = -1;
            const pid_t other = ::fork();
            if (other == 0) ::_exit(0);
            if (::waitpid(other, &status, 0) != other || status != 0) wrong_answer("no exit");
        });
    });
}
