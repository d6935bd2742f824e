// expect: this_place_is_not_in_fail_points_def
#include "base/fail_point.hpp"

void task_begins() { prefork::base::fail_point::pass("worker.no_such_place"); }
