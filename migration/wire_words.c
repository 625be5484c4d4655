/* SPDX-License-Identifier: BSD-3-Clause */
#include "migration/wire_inner.h"

static void queue(struct wire *w, enum word word)
{
	w->said = word;
	w->saying[w->n_saying++] = (uint8_t)word;
}

int wire_say(struct wire *w, enum word word)
{
	/* Behind the final record, which may be on its way already, comes nothing. */
	if (w->state != WIRE_TALKING || w->ending || !word_fits(w->is_source, w->said, word) ||
	    (word == WORD_RUNS && w->heard != WORD_YOURS) || w->n_saying == SAYING_MAX)
		return ERR_STATE;
	queue(w, word);
	return 0;
}

enum word wire_heard(const struct wire *w)
{
	return w->heard;
}

void wire_hang_up(struct wire *w)
{
	w->ending |= w->state == WIRE_TALKING && word_ends(w->is_source, w->said);
}

void wire_take_word(struct wire *w)
{
	const uint8_t *at;
	enum word word;
	size_t n = channel_recv(w->channel, &at);
	int rc = word_parse(at, n, &word, &w->fault);
	if (rc >= 0 && (!word_fits(!w->is_source, w->heard, word) ||
			(word == WORD_RUNS && w->said != WORD_YOURS)))
		rc = fault_set(&w->fault, ERR_FORMAT,
			       "the other end says word %d, which makes no sense here", (int)word);
	channel_recv_done(w->channel, n);
	if (rc < 0)
		wire_fail(w, rc);
	else
		w->heard = word;
}

int wire_ends_well(struct wire *w)
{
	if (word_ends(!w->is_source, w->heard))
		return 1;
	wire_fail(w, fault_set(&w->fault, ERR_FORMAT,
			       "the other end has ended without the last word"));
	return 0;
}

void wire_look_for_last_word(struct wire *w)
{
	int theirs_ended = channel_recv_ended(w->channel);
	if (w->is_source && theirs_ended && w->said == WORD_END)
		queue(w, WORD_MINE);
	if (!w->is_source && w->heard == WORD_MINE && w->said == WORD_ASK)
		queue(w, WORD_NEVER);
	if (w->is_source)
		w->ending |= w->said == WORD_MINE ||
			     (w->said == WORD_YOURS && (w->heard != WORD_ASK || theirs_ended));
	else
		w->ending |= w->said == WORD_RUNS || w->said == WORD_NEVER ||
			     (w->said == WORD_END && w->heard > WORD_END);
}

void wire_send_words(struct wire *w)
{
	uint8_t *at;
	int rc = 0, done = 0;
	while (rc >= 0 && done < w->n_saying && channel_send(w->channel, &at))
		rc = channel_send_word(w->channel, w->saying[done++]);
	w->n_saying -= done;
	memmove(w->saying, w->saying + done, (size_t)w->n_saying);
	if (rc >= 0 && w->n_saying == 0 && w->ending && channel_send(w->channel, &at))
		rc = channel_send_end(w->channel);
	if (rc < 0)
		(void)wire_channel_lives(w);
}
