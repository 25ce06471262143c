/* librdkafka's mock cluster in a process of its own. Prints its bootstrap servers; then each line read,
 * `TOPIC PARTITIONS`, creates a topic and is answered with `ok`. Ends with its input. */
#include <stdio.h>
#include <stdlib.h>

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

int main(void) {
    char error[512], topic[256];
    int partitions;
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), error, sizeof error);
    rd_kafka_mock_cluster_t *cluster = rk ? rd_kafka_mock_cluster_new(rk, 1) : NULL;
    if (!cluster) {
        fprintf(stderr, "no mock cluster: %s\n", error);
        return 1;
    }
    printf("%s\n", rd_kafka_mock_cluster_bootstraps(cluster));
    fflush(stdout);
    while (scanf("%255s %d", topic, &partitions) == 2) {
        puts(rd_kafka_mock_topic_create(cluster, topic, partitions, 1) ? "failed" : "ok");
        fflush(stdout);
    }
    return 0;
}
