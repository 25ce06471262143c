// The interop agent of kafkajs. It has no consumer without a group: a reader is a group of its own.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { randomUUID } from 'node:crypto'
import * as zlib from 'node:zlib'
import kafkajs from 'kafkajs'
import snappy from 'kafkajs-snappy'
import lz4 from 'lz4-napi'
import { EARLIEST, LATEST, Records, SendQueue, bytes, pieces, serve } from './agent.mjs'

const { Kafka, CompressionCodecs, CompressionTypes, logLevel } = kafkajs
CompressionCodecs[CompressionTypes.Snappy] = snappy
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: encoder => lz4.compressFrame(encoder.buffer),
  decompress: buffer => lz4.decompressFrame(buffer),
})
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async encoder => zlib.zstdCompressSync(encoder.buffer),
  decompress: async buffer => zlib.zstdDecompressSync(buffer),
})

const codecs = {
  none: CompressionTypes.None, gzip: CompressionTypes.GZIP, snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4, zstd: CompressionTypes.ZSTD,
}
const acks = { 0: 0, 1: 1, all: -1 }
const retry = { retries: 100, initialRetryTime: 100, maxRetryTime: 1000 }

const version = JSON.parse(readFileSync(createRequire(import.meta.url).resolve('kafkajs/package.json'))).version
const kafka = new Kafka({
  brokers: [process.argv[2]], clientId: 'interop', logLevel: logLevel.WARN, connectionTimeout: 5000, retry,
})
const admin = kafka.admin()
await admin.connect()

class Producer {
  #queue = new SendQueue()

  constructor(producer, settings) {
    this.producer = producer
    this.settings = { acks: acks[settings.acks], compression: codecs[settings.codec] }
  }

  send(topic, messages) {
    for (const piece of pieces(messages.map(outgoing))) {
      this.#queue.add(() => this.producer.send({ topic, messages: piece, ...this.settings }))
    }
  }

  flush(timeoutMs) {
    return this.#queue.flush(timeoutMs)
  }

  close() {
    return this.producer.disconnect()
  }
}

class Consumer {
  records = new Records()
  assigned = []

  /** A reader commits nothing and so seeks to where it was when it has to join again. */
  constructor(settings, isReader = false) {
    this.isReader = isReader
    this.consumer = kafka.consumer({
      sessionTimeout: 6000, rebalanceTimeout: 10000, heartbeatInterval: 500, maxWaitTimeInMs: 500,
      metadataMaxAge: 1000, retry, ...settings,
    })
    const { GROUP_JOIN, REBALANCING } = this.consumer.events
    this.joined = new Promise(resolve => {
      this.consumer.on(GROUP_JOIN, ({ payload }) => {
        this.assigned = Object.entries(payload.memberAssignment).flatMap(
          ([topic, partitions]) => partitions.map(partition => ({ topic, partition })))
        const [reached] = this.records.positions
        this.records.keep(() => false) // it goes on from the committed offsets
        if (this.isReader && reached) this.consumer.seek({ ...reached, offset: String(reached.offset) })
        resolve()
      })
    })
    this.consumer.on(REBALANCING, () => { this.assigned = [] })
  }

  async run(topics, fromBeginning, wanted = () => true) {
    await this.consumer.connect()
    await this.consumer.subscribe({ topics, fromBeginning })
    await this.consumer.run({
      autoCommit: false,
      eachBatchAutoResolve: true,
      eachBatch: async ({ batch }) => {
        if (!wanted(batch.partition)) return
        for (const { offset, timestamp, key, value, headers } of batch.messages) {
          this.records.add(batch.topic, batch.partition, offset, timestamp, key, value, incoming(headers))
        }
      },
    })
  }

  async commit() {
    await this.consumer.commitOffsets(this.records.positions.map(
      ({ topic, partition, offset }) => ({ topic, partition, offset: String(offset) })))
  }

  close() {
    return this.consumer.disconnect()
  }
}

function outgoing(message) {
  const headers = {}
  for (const { name, value } of message.headers) {
    const more = bytes(value)
    headers[name] = name in headers ? [headers[name], more].flat() : more
  }
  return {
    partition: message.partition, key: bytes(message.key), value: bytes(message.value), headers,
    ...(message.timestampMs === undefined ? {} : { timestamp: String(message.timestampMs) }),
  }
}

const incoming = headers => Object.entries(headers).flatMap(
  ([name, value]) => (Array.isArray(value) ? value.map(each => [name, each]) : [[name, value]]))

async function offsetOf(listed, partition) {
  return { offset: Number((await listed).find(each => each.partition === partition).offset) }
}

await serve({
  version: () => ({ version }),
  createTopic: ({ topic, partitions, configs }) => admin.createTopics({
    topics: [{
      topic, numPartitions: partitions,
      configEntries: Object.entries(configs).map(([name, value]) => ({ name, value })),
    }],
  }).then(() => ({})),
  deleteTopic: ({ topic }) => admin.deleteTopics({ topics: [topic] }).then(() => ({})),
  async topics() {
    const { topics } = await admin.fetchTopicMetadata()
    return { topics: Object.fromEntries(topics.map(({ name, partitions }) => [name, partitions.length])) }
  },
  async offsetAt({ topic, partition, timestampMs }) {
    const found = await offsetOf(admin.fetchTopicOffsetsByTimestamp(topic, timestampMs), partition)
    const end = await offsetOf(admin.fetchTopicOffsets(topic), partition)
    return found.offset === end.offset ? { offset: -1 } : found // it gives the end when there is no such record
  },
  endOffset: ({ topic, partition }) => offsetOf(admin.fetchTopicOffsets(topic), partition),
  async committed({ group, topic, partition }) {
    const [{ partitions }] = await admin.fetchOffsets({ groupId: group, topics: [topic] })
    return offsetOf(partitions, partition)
  },
  setCommitted: ({ group, topic, partition, offset }) => admin.setOffsets({
    groupId: group, topic, partitions: [{ partition, offset: String(offset) }],
  }).then(() => ({})),
  async openProducer(settings) {
    const producer = kafka.producer({
      idempotent: settings.idempotent, maxInFlightRequests: 1, allowAutoTopicCreation: settings.autoCreate,
      createPartitioner: () => ({ message }) => message.partition,
      retry: settings.autoCreate ? { ...retry, retries: 5 } : retry,
    })
    await producer.connect()
    return new Producer(producer, settings)
  },
  async openReader({ topic, partition, offset }) {
    const settings = { groupId: `interop-reader-${randomUUID()}`, allowAutoTopicCreation: false }
    const reader = new Consumer(settings, true)
    await reader.run([topic], offset !== LATEST, from => from === partition)
    await reader.joined
    if (offset !== EARLIEST && offset !== LATEST) {
      reader.consumer.seek({ topic, partition, offset: String(offset) })
      reader.records.keep(() => false)
    }
    return reader
  },
  async openMember({ group, topics }) {
    const member = new Consumer({ groupId: group, allowAutoTopicCreation: false })
    // Joining waits for the members there are, which are polled by later calls.
    member.run(topics, true).catch(error => member.records.fail(error))
    return member
  },
})
