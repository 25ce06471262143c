# Debian's ZooKeeper where compose.yaml expects the official image: the same port and the same directories.
ARG BASE=debian:bookworm-slim
FROM ${BASE}
ARG DEBIAN_FRONTEND=noninteractive
RUN mkdir -p /usr/share/man/man1 && apt-get update \
    && apt-get install -y --no-install-recommends zookeeper \
    && rm -rf /var/lib/apt/lists/* \
    && mkdir -p /data /datalog \
    && chown zookeeper:zookeeper /data /datalog \
    && printf '%s\n' clientPort=2181 dataDir=/data dataLogDir=/datalog tickTime=2000 admin.enableServer=false \
        4lw.commands.whitelist=srvr autopurge.purgeInterval=24 >/etc/zookeeper/conf/zoo.cfg
USER zookeeper
VOLUME ["/data", "/datalog"]
EXPOSE 2181
CMD ["/usr/share/zookeeper/bin/zkServer.sh", "start-foreground"]
