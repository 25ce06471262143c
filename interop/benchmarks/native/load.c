/* Loads a Kafka broker with librdkafka and prints what it saw as one JSON object.
 *
 * Usage: load KIND key=value...
 *   produce  as fast as it goes; time from the first message to the last delivery report
 *   consume  what is in the topic; time from the first message that arrives to the last
 *   tail     produce and consume at once; time from the first message sent to the last received
 *   paced    `rate` messages a second, each sent alone; the time each takes to be acknowledged and, with
 *            follow=1, to reach a consumer
 * The topic must exist. Messages of a few dozen patterns go to the partitions in turn; lz4 halves them at best.
 */
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include <librdkafka/rdkafka.h>

#define PATTERNS 64
#define FETCH_BATCH 10000
#define POLL_MS 100
#define STALLED_MS 30000

static const char *kind, *bootstrap = "", *topic_name = "", *codec = "none", *acks = "all", *linger_ms = "5";
static const char *in_flight = "1000000";
static int partitions = 1, size = 1024, messages = 100000, rate = 1000, follow = 0, alone = 0;

static char *pattern[PATTERNS];
static int64_t *delivered_ns, *received_ns;
static int delivered, failed, received;
static volatile int is_over;
static int64_t first_received, last_received;

static void die(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static double cpu_seconds(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec +
           (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void read_options(int count, char **options) {
    struct { const char *key; const char **text; int *number; } known[] = {
        {"bootstrap", &bootstrap, NULL}, {"topic", &topic_name, NULL}, {"codec", &codec, NULL},
        {"acks", &acks, NULL}, {"linger_ms", &linger_ms, NULL}, {"in_flight", &in_flight, NULL},
        {"partitions", NULL, &partitions}, {"size", NULL, &size}, {"messages", NULL, &messages},
        {"rate", NULL, &rate}, {"follow", NULL, &follow}, {"alone", NULL, &alone},
    };
    for (int i = 0; i < count; i++) {
        char *equals = strchr(options[i], '=');
        if (!equals) die("%s is not key=value", options[i]);
        *equals = 0;
        size_t k = 0;
        while (k < sizeof known / sizeof *known && strcmp(known[k].key, options[i])) k++;
        if (k == sizeof known / sizeof *known) die("there is no option %s", options[i]);
        if (known[k].text) *known[k].text = equals + 1;
        else *known[k].number = atoi(equals + 1);
    }
    if (size < (int)sizeof(int64_t) || partitions < 1 || messages < 1) die("size, partitions or messages is too small");
}

/* Half of each message is random hexadecimal digits, half repeats: about what lz4 finds in JSON. */
static void make_patterns(void) {
    srandom(20390);
    for (int p = 0; p < PATTERNS; p++) {
        pattern[p] = malloc(size);
        for (int i = 0; i < size; i++)
            pattern[p][i] = i % 16 < 8 ? "0123456789abcdef"[random() % 16] : "\"value\":"[i % 8];
    }
}

static void set(rd_kafka_conf_t *conf, const char *key, const char *value) {
    char error[512];
    if (rd_kafka_conf_set(conf, key, value, error, sizeof error) != RD_KAFKA_CONF_OK) die("%s", error);
}

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque) {
    (void)rk, (void)opaque;
    if (message->err) failed++;
    else if (delivered_ns) delivered_ns[delivered] = now_ns() - (int64_t)(intptr_t)message->_private;
    delivered++;
}

static rd_kafka_conf_t *common_conf(void) {
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", bootstrap);
    set(conf, "broker.address.family", "v4");
    set(conf, "enable.metrics.push", "false");
    return conf;
}

static rd_kafka_t *make_client(rd_kafka_type_t type, rd_kafka_conf_t *conf) {
    char error[512];
    rd_kafka_t *client = rd_kafka_new(type, conf, error, sizeof error);
    if (!client) die("%s", error);
    return client;
}

static rd_kafka_t *make_producer(void) {
    rd_kafka_conf_t *conf = common_conf();
    set(conf, "acks", acks);
    set(conf, "compression.codec", codec);
    set(conf, "linger.ms", linger_ms);
    set(conf, "max.in.flight.requests.per.connection", in_flight);
    set(conf, "queue.buffering.max.messages", "200000");
    if (alone) set(conf, "batch.num.messages", "1");
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    return make_client(RD_KAFKA_PRODUCER, conf);
}

static rd_kafka_t *make_consumer(void) {
    rd_kafka_conf_t *conf = common_conf();
    set(conf, "group.id", "load");
    set(conf, "enable.auto.commit", "false");
    set(conf, "queued.min.messages", "1000000");
    set(conf, "auto.offset.reset", "error");
    return make_client(RD_KAFKA_CONSUMER, conf);
}

/* Asked until the broker knows the topic with all its partitions: its creation may be still under way. */
static void await_topic(rd_kafka_t *client, rd_kafka_topic_t *topic) {
    for (int64_t end = now_ns() + STALLED_MS * INT64_C(1000000); now_ns() < end;) {
        const struct rd_kafka_metadata *metadata;
        if (!rd_kafka_metadata(client, 0, topic, &metadata, 5000)) {
            int count = metadata->topic_cnt ? metadata->topics[0].partition_cnt : 0, ready = count == partitions;
            for (int p = 0; p < count; p++) ready = ready && metadata->topics[0].partitions[p].leader >= 0;
            rd_kafka_metadata_destroy(metadata);
            if (ready) return;
        }
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    die("%s has not %d partitions", topic_name, partitions);
}

static void send_one(rd_kafka_t *rk, rd_kafka_topic_t *topic, int number) {
    char *payload = pattern[number % PATTERNS];
    int64_t sent = now_ns();
    if (follow) memcpy(payload, &sent, sizeof sent);
    while (rd_kafka_produce(topic, number % partitions, RD_KAFKA_MSG_F_COPY, payload, size, NULL, 0,
                            (void *)(intptr_t)sent) == -1) {
        if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL)
            die("produce: %s", rd_kafka_err2str(rd_kafka_last_error()));
        rd_kafka_poll(rk, 10);
    }
}

static void await_deliveries(rd_kafka_t *rk, int target) {
    for (int64_t end = now_ns() + STALLED_MS * INT64_C(1000000); delivered < target;)
        if (!rd_kafka_poll(rk, POLL_MS) && now_ns() > end) die("only %d of %d are delivered", delivered, target);
}

/* Connections, metadata and the broker's own first steps with a partition stay out of the figures. */
static void warm_up(rd_kafka_t *rk, rd_kafka_topic_t *topic) {
    for (int p = 0; p < partitions; p++) send_one(rk, topic, p);
    await_deliveries(rk, partitions);
    if (failed) die("the first messages failed");
    delivered = 0;
}

static int64_t produce_all(rd_kafka_t *rk, rd_kafka_topic_t *topic) {
    int64_t start = now_ns();
    for (int i = 0; i < messages; i++) {
        send_one(rk, topic, i);
        if (i % 256 == 0) rd_kafka_poll(rk, 0);
    }
    await_deliveries(rk, messages);
    return now_ns() - start;
}

static void *poll_producer(void *rk) {
    while (!is_over) rd_kafka_poll(rk, POLL_MS);
    return NULL;
}

static void produce_paced(rd_kafka_t *rk, rd_kafka_topic_t *topic) {
    pthread_t poller;
    delivered_ns = calloc(messages, sizeof *delivered_ns);
    if (pthread_create(&poller, NULL, poll_producer, rk)) die("no thread");
    int64_t start = now_ns();
    for (int i = 0; i < messages; i++) {
        int64_t due = start + (int64_t)i * 1000000000 / rate;
        struct timespec until = {.tv_sec = due / 1000000000, .tv_nsec = due % 1000000000};
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR) continue;
        send_one(rk, topic, i);
    }
    if (rd_kafka_flush(rk, STALLED_MS)) die("not all are delivered");
    is_over = 1;
    pthread_join(poller, NULL);
}

/* A call returns when its batch is full, so the last one asks for no more than will come; where the time of
 * each message counts, they are taken one by one. */
static void consume_all(rd_kafka_queue_t *queue) {
    static rd_kafka_message_t *batch[FETCH_BATCH];
    for (int64_t end = now_ns() + STALLED_MS * INT64_C(1000000); received < messages;) {
        int left = messages - received, most = received_ns ? 1 : left < FETCH_BATCH ? left : FETCH_BATCH;
        ssize_t count = rd_kafka_consume_batch_queue(queue, POLL_MS, batch, most);
        int64_t now = now_ns();
        for (ssize_t i = 0; i < count; i++) {
            if (batch[i]->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
                if (!received) first_received = now;
                if (received_ns) {
                    int64_t sent;
                    memcpy(&sent, batch[i]->payload, sizeof sent);
                    received_ns[received] = now - sent;
                }
                received++;
            } else if (batch[i]->err != RD_KAFKA_RESP_ERR__PARTITION_EOF)
                die("consume: %s", rd_kafka_message_errstr(batch[i]));
            rd_kafka_message_destroy(batch[i]);
        }
        if (count > 0) last_received = now;
        else if (now > end) die("only %d of %d arrived", received, messages);
    }
}

struct reader { rd_kafka_t *client; rd_kafka_queue_t *queue; };

static struct reader start_reader(int64_t offset) {
    struct reader reader = {.client = make_consumer()};
    rd_kafka_topic_t *topic = rd_kafka_topic_new(reader.client, topic_name, NULL);
    await_topic(reader.client, topic);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(partitions);
    for (int p = 0; p < partitions; p++)
        rd_kafka_topic_partition_list_add(list, topic_name, p)->offset = offset;
    rd_kafka_poll_set_consumer(reader.client);
    if (rd_kafka_assign(reader.client, list)) die("assign failed");
    rd_kafka_topic_partition_list_destroy(list);
    reader.queue = rd_kafka_queue_get_consumer(reader.client);
    return reader;
}

static void *follow_producer(void *reader) {
    consume_all(((struct reader *)reader)->queue);
    return NULL;
}

static int by_value(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void print_percentiles(const char *what, int64_t *times, int count) {
    if (!times || count < 1) return;
    qsort(times, count, sizeof *times, by_value);
    printf(", \"%s_p50_ms\": %.4f, \"%s_p99_ms\": %.4f, \"%s_p999_ms\": %.4f", what, times[count / 2] / 1e6, what,
           times[(int)(count * 0.99)] / 1e6, what, times[(int)(count * 0.999)] / 1e6);
}

static int64_t run_producer(int is_followed) {
    rd_kafka_t *rk = make_producer();
    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, topic_name, NULL);
    struct reader reader;
    pthread_t follower;
    int64_t elapsed = 0;
    await_topic(rk, topic);
    warm_up(rk, topic);
    if (is_followed) {
        reader = start_reader(1);
        if (follow) received_ns = calloc(messages, sizeof *received_ns);
        if (pthread_create(&follower, NULL, follow_producer, &reader)) die("no thread");
        /* Its first fetches wait at the end of the log before the clock starts. */
        nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
    }
    int64_t start = now_ns();
    if (!strcmp(kind, "paced")) produce_paced(rk, topic);
    else elapsed = produce_all(rk, topic);
    if (is_followed) {
        pthread_join(follower, NULL);
        elapsed = last_received - start;
    }
    return elapsed;
}

int main(int argc, char **argv) {
    if (argc < 2) die("usage: load produce|consume|tail|paced key=value...");
    kind = argv[1];
    read_options(argc - 2, argv + 2);
    make_patterns();
    int64_t elapsed;
    if (!strcmp(kind, "consume")) {
        struct reader reader = start_reader(0);
        consume_all(reader.queue);
        elapsed = last_received - first_received;
    } else if (!strcmp(kind, "produce") || !strcmp(kind, "tail") || !strcmp(kind, "paced"))
        elapsed = run_producer(!strcmp(kind, "tail") || follow);
    else
        die("there is no %s", kind);
    printf("{\"seconds\": %.6f, \"messages\": %d, \"failed\": %d, \"client_cpu_s\": %.3f", elapsed / 1e9, messages,
           failed, cpu_seconds());
    print_percentiles("produce", delivered_ns, delivered);
    print_percentiles("consume", received_ns, received);
    printf("}\n");
    fflush(stdout);
    _Exit(failed ? 1 : 0); /* closing the clients in order would cost a second of waiting for their threads */
}
