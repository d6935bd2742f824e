// A pipe each way, of the size that they have by themselves.
#include <unistd.h>

#include "stream.hpp"

int main(int argc, char** argv) {
    using namespace prefork::versus;
    int there[2];
    int back[2];
    if (::pipe(there) != 0 || ::pipe(back) != 0) leave_out("no pipe");
    const stream worker{{back[0], there[1], there[0], back[1]}};
    return measure(argc, argv, [&](payload bytes) {
        return [&worker, bytes] { return worker.hand_over(bytes); };
    });
}
