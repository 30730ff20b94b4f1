/* One process that is to be held, and who starts many of them. Times in nanoseconds of CLOCK_MONOTONIC.
 *
 *   placement_probe spaced|tight N GAP_US PROGRAM ADJ CGROUP_FILE CGROUP   latency, one after the other
 *   placement_probe crowd N GAP_US PROGRAM ADJ CGROUP_FILE CGROUP LIMIT_MS the same, each living on until it is held
 *   placement_probe short N LIFE_US PARALLEL PROGRAM ADJ CGROUP_FILE CGROUP   of N short-lived ones, the missed
 *   placement_probe hold N RATE LIFE_MS PROGRAM ADJ CGROUP_FILE CGROUP    of N at a rate, each held for a while
 *   placement_probe sleep N                                               N sleeping children, then waits for stdin
 *   placement_probe sweep FILE...                                         read these files of every process once
 * The probe itself: PROGRAM probe T0 ADJ CGROUP_FILE CGROUP LIMIT_MS NAP_US; ADJ or CGROUP empty: not asked
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void rest(long us) {
	struct timespec t = {us / 1000000, us % 1000000 * 1000};
	nanosleep(&t, NULL);
}

static int adj_is(const char *wanted) {
	static int fd = -1;
	char text[16];
	if (fd < 0) fd = open("/proc/self/oom_score_adj", O_RDONLY);
	ssize_t n = pread(fd, text, sizeof text - 1, 0);
	text[n > 0 ? n - 1 : 0] = 0;
	return !strcmp(text, wanted);
}

static int group_is(const char *hierarchy, const char *wanted) {
	static int fd = -1;
	char text[4096];
	if (fd < 0) fd = open("/proc/self/cgroup", O_RDONLY);
	ssize_t n = pread(fd, text, sizeof text - 1, 0);
	text[n > 0 ? n : 0] = 0;
	char line[512];
	snprintf(line, sizeof line, ":%s:%s\n", hierarchy, wanted);
	return strstr(text, line) != NULL;
}

/* prints: ns from exec to main, to adj, to group; 0 where not asked, -1 where it never came */
static int probe(char **v) {
	long long t0 = atoll(v[0]), begun = now(), adj = 0, group = 0, limit = begun + atoll(v[4]) * 1000000LL;
	int want_adj = *v[1] != 0, want_group = *v[3] != 0, nap_us = atoi(v[5]);
	while ((want_adj && !adj) || (want_group && !group)) {
		if (want_adj && !adj && adj_is(v[1])) adj = now() - t0;
		if (want_group && !group && group_is(v[2], v[3])) group = now() - t0;
		if (now() > limit) break;
		if (nap_us) rest(nap_us);
	}
	printf("%lld %lld %lld\n", begun - t0, want_adj && !adj ? -1 : adj, want_group && !group ? -1 : group);
	return 0;
}

static void start(char *program, char *adj, char *file, char *group, char *limit, char *nap) {
	char t0[32];
	snprintf(t0, sizeof t0, "%lld", now());
	execl(program, program, "probe", t0, adj, file, group, limit, nap, (char *)NULL);
	_exit(127);
}

static void latency(int n, long gap_us, char **v) {
	for (int i = 0; i < n; i++) {
		if (!fork()) start(v[0], v[1], v[2], v[3], "2000", "0");
		wait(NULL);
		if (gap_us) rest(gap_us);
	}
}

/* many at once: they nap between looks, or they would be a load of their own */
static void crowd(int n, long gap_us, char **v) {
	for (int i = 0; i < n; i++) {
		if (!fork()) start(v[0], v[1], v[2], v[3], v[4], "1000");
		rest(gap_us);
	}
	while (wait(NULL) > 0);
}

/* each checks itself after life_us; exits 1 when it was missed */
static int reap(int flags, int *missed) {
	int status, reaped = 0;
	while (waitpid(-1, &status, flags) > 0) reaped++, *missed += WIFEXITED(status) && WEXITSTATUS(status) == 1;
	return reaped;
}

static void many(int n, long gap_ns, int parallel, char *life_us, char **v) {
	int running = 0, missed = 0;
	long long begun = now();
	for (int i = 0; i < n; i++) {
		while (gap_ns && now() < begun + i * (long long)gap_ns) running -= reap(WNOHANG, &missed);
		while (running >= parallel) running -= reap(WNOHANG, &missed);
		pid_t pid = vfork();
		if (!pid) execl(v[0], v[0], "check", life_us, v[1], v[2], v[3], (char *)NULL), _exit(127);
		running++;
	}
	double seconds = (now() - begun) / 1e9;
	reap(0, &missed);
	printf("%d %d %.0f\n", n, missed, n / seconds);
}

static void sweep(int n, char **files) {
	char path[512], text[4096];
	long processes = 0, sum = 0;
	int proc = open("/proc", O_RDONLY | O_DIRECTORY);
	long long begun = now();
	DIR *dir = fdopendir(dup(proc));
	for (struct dirent *entry; (entry = readdir(dir));) {
		if (*entry->d_name < '0' || *entry->d_name > '9') continue;
		processes++;
		for (int i = 0; i < n; i++) {
			snprintf(path, sizeof path, "%s/%s", entry->d_name, files[i]);
			int fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
			if (fd < 0) continue;
			ssize_t got = read(fd, text, sizeof text);
			if (got > 0) sum += text[got - 1];
			close(fd);
		}
	}
	printf("%ld %lld %ld\n", processes, now() - begun, sum);
}

int main(int c, char **v) {
	if (c == 8 && !strcmp(v[1], "probe")) return probe(v + 2);
	if (c == 6 && !strcmp(v[1], "check")) {
		rest(atol(v[2]));
		return (*v[3] && !adj_is(v[3])) || (*v[5] && !group_is(v[4], v[5]));
	}
	if (c == 9 && !strcmp(v[1], "crowd")) return crowd(atoi(v[2]), atol(v[3]), v + 4), 0;
	if (c == 8 && (!strcmp(v[1], "spaced") || !strcmp(v[1], "tight"))) latency(atoi(v[2]), atol(v[3]), v + 4);
	else if (c == 9 && !strcmp(v[1], "short")) many(atoi(v[2]), 0, atoi(v[4]), v[3], v + 5);
	else if (c == 9 && !strcmp(v[1], "hold")) {
		char life[32];
		snprintf(life, sizeof life, "%ld", atol(v[4]) * 1000);
		many(atoi(v[2]), 1000000000L / atoi(v[3]), 1 << 30, life, v + 5);
	} else if (c == 3 && !strcmp(v[1], "sleep")) {
		for (int i = 0; i < atoi(v[2]); i++)
			if (!fork()) pause(), _exit(0);
		printf("ready\n");
		fflush(stdout);
		char byte;
		if (read(0, &byte, 1) < 0) return 1;
		signal(SIGTERM, SIG_IGN);
		kill(0, SIGTERM);
	} else if (c >= 3 && !strcmp(v[1], "sweep")) sweep(c - 2, v + 2);
	else return 2;
	return 0;
}
