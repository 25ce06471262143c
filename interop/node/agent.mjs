// Serves the interop suite's lines: one JSON object in, one out. A client library fills in the calls.
import { createInterface } from 'node:readline'

export const EARLIEST = -2
export const LATEST = -1
const POLL_MAX = 2000

export const pause = ms => new Promise(resolve => setTimeout(resolve, ms))

export const bytes = value => (value === null || value === undefined ? null : Buffer.from(value, 'base64'))

const text = value => (value === null || value === undefined ? null : Buffer.from(value).toString('base64'))

/** What a library has read until it is polled, and the positions after what was polled. */
export class Records {
  #waiting = []
  #positions = new Map()
  #failure = null
  #wake = () => {}

  /** `headers` holds [name, value] pairs. */
  add(topic, partition, offset, timestampMs, key, value, headers) {
    this.#waiting.push({
      topic, partition, offset: Number(offset), timestampMs: Number(timestampMs),
      key: text(key), value: text(value),
      headers: headers.map(([name, of]) => ({ name: name.toString(), value: text(of) })),
    })
    this.#wake()
  }

  fail(error) {
    this.#failure = error
    this.#wake()
  }

  /** Records and positions of partitions for which `keeps(topic, partition)` is false are dropped. */
  keep(keeps) {
    this.#waiting = this.#waiting.filter(record => keeps(record.topic, record.partition))
    for (const [where, position] of this.#positions) {
      if (!keeps(position.topic, position.partition)) this.#positions.delete(where)
    }
  }

  get positions() {
    return [...this.#positions.values()]
  }

  async poll(timeoutMs) {
    if (this.#waiting.length === 0 && this.#failure === null) {
      await Promise.race([new Promise(resolve => { this.#wake = resolve }), pause(timeoutMs)])
    }
    if (this.#failure !== null) {
      const failure = this.#failure
      this.#failure = null
      throw failure
    }
    const records = this.#waiting.splice(0, POLL_MAX)
    for (const { topic, partition, offset } of records) {
      this.#positions.set(`${topic}-${partition}`, { topic, partition, offset: offset + 1 })
    }
    return records
  }
}

/** Sends one after the other without making `send` wait; the first failure is thrown by `flush`. */
export class SendQueue {
  #last = Promise.resolve()
  #failure = null

  add(send) {
    this.#last = this.#last.then(send).catch(error => { this.#failure ??= error })
  }

  async flush(timeoutMs) {
    const late = new Error('not acknowledged in time')
    const timer = pause(timeoutMs).then(() => { throw late })
    timer.catch(() => {})
    await Promise.race([this.#last, timer])
    const failure = this.#failure
    this.#failure = null
    if (failure !== null) throw failure
  }
}

/** `messages` in pieces that stay below a broker's default limit of a batch. */
export function* pieces(messages) {
  for (let at = 0; at < messages.length; at += 1000) yield messages.slice(at, at + 1000)
}

const allWords = error => [error?.message, ...[error?.cause, ...(error?.errors ?? [])].filter(Boolean).flatMap(allWords)]

/** An error's words and its causes', each once: a library that retries gathers many of the same. */
const words = error => [...new Set(allWords(error))].filter(Boolean).join(': ')

/** Answers until the input ends. `library` has a method for each call that names no id; producers and consumers too. */
export async function serve(library) {
  console.log = console.info = console.debug = console.error
  process.on('unhandledRejection', error => console.error('unhandled:', error))
  const opened = new Map()
  for await (const line of createInterface({ input: process.stdin })) {
    const request = JSON.parse(line)
    let answer
    try {
      answer = await answerTo(request, library, opened)
    } catch (error) {
      console.error(request.call, error)
      answer = { error: words(error) || String(error) }
    }
    process.stdout.write(JSON.stringify(answer) + '\n')
  }
  process.exit(0)
}

async function answerTo(request, library, opened) {
  const of = opened.get(request.id)
  switch (request.call) {
    case 'openProducer':
    case 'openReader':
    case 'openMember': {
      const id = opened.size + 1
      opened.set(id, await library[request.call](request))
      return { id }
    }
    case 'send':
      of.send(request.topic, request.messages)
      return {}
    case 'flush':
      await of.flush(request.timeoutMs)
      return {}
    case 'poll':
      return { records: await of.records.poll(request.timeoutMs) }
    case 'assignment':
      return { assigned: of.assigned }
    case 'commit':
      await of.commit()
      return {}
    case 'closeProducer':
    case 'closeConsumer':
      await of.close()
      return {}
    default:
      return (await library[request.call](request)) ?? {}
  }
}
