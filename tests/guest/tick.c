// SPDX-License-Identifier: BSD-3-Clause
// tick ADDRESS PORT MILLISECONDS: the test guest's counter over its network card.  Every so many
// milliseconds by the guest's own clock a datagram with a number, one higher each time, and what
// that clock says.  It skips none: what should have been sent while the guest could not run is sent
// when it can.
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	struct timespec due;
	long step;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (fd < 0 || argc != 4 || inet_pton(AF_INET, argv[1], &to.sin_addr) != 1)
		return 2;
	to.sin_port = htons((unsigned short)atoi(argv[2]));
	step = atol(argv[3]) * 1000000;
	clock_gettime(CLOCK_MONOTONIC, &due);
	for (unsigned long n = 1;; n++) {
		struct timespec now;
		char text[64];
		int size;

		clock_gettime(CLOCK_MONOTONIC, &now);
		size = snprintf(text, sizeof(text), "%lu %lld.%06ld", n, (long long)now.tv_sec,
				now.tv_nsec / 1000);
		// A card without a link drops it, and the number is missed where it should have
		// come.
		(void)!sendto(fd, text, (size_t)size, 0, (struct sockaddr *)&to, sizeof(to));
		due.tv_nsec += step;
		while (due.tv_nsec >= 1000000000) {
			due.tv_nsec -= 1000000000;
			due.tv_sec++;
		}
		while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL))
			;
	}
}
