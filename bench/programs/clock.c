/* SPDX-License-Identifier: Apache-2.0 */
/* Print CLOCK_MONOTONIC in nanoseconds: when the first instructions of a command ran. */
#include <stdio.h>
#include <time.h>

int main(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	printf("%lld\n", t.tv_sec * 1000000000ll + t.tv_nsec);
	return 0;
}
