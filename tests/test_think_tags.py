"""Think tags: opened by the prompt, by the model, or control tokens that have no text of their own."""

from pathlib import Path

import pytest

from lite.chat import ChatCodec
from lite.params import Chat, Message
from lite.quant.gguf import open_gguf
from lite.sampler import Traits
from tests.gguf_files import CHATML, QWEN3, bpe_vocabulary, write_gguf

CONTROL, USER_DEFINED = 3, 4

DEEPSEEK_R1 = CHATML.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
OPENED_UNLESS_SWITCHED_OFF = CHATML.replace(
    "assistant\n{% endif %}",
    "assistant\n{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n"
    "{% else %}<think>\n{% endif %}{% endif %}",
)
OPENED_IF_SWITCHED_ON = CHATML.replace(
    "assistant\n{% endif %}", "assistant\n{% if enable_thinking %}<think>{% endif %}{% endif %}"
)


def codec(folder: Path, chat_template: str, **options: object) -> ChatCodec:
    with open_gguf(write_gguf(folder / "m.gguf", chat_template=chat_template, num_layers=1, **options)) as file:
        return ChatCodec(file)


@pytest.mark.parametrize(
    ("template", "opened"),
    [
        (QWEN3, False),
        (DEEPSEEK_R1, True),
        (OPENED_UNLESS_SWITCHED_OFF, True),
        (OPENED_IF_SWITCHED_ON, None),
        (DEEPSEEK_R1 + "{{ raise_exception('no') }}", None),
        ("{% for %}<think>", None),
        (CHATML, None),
    ],
)
def test_the_template_tells_whether_it_opens_the_thought(tmp_path: Path, template: str, opened: bool | None) -> None:
    made = codec(tmp_path, template)
    assert made.traits.think_opened is opened
    assert made.traits.think_open == ("" if template == CHATML else "<think>")


@pytest.mark.parametrize(
    "tags",
    [
        ("[THINK]", "[/THINK]"),
        ("<seed:think>", "</seed:think>"),
        ("<|begin_of_thought|>", "<|end_of_thought|>"),
        ("<|START_THINKING|>", "<|END_THINKING|>"),
        ("◁think▷", "◁/think▷"),
        ("<think>", "</think>"),
    ],
)
@pytest.mark.parametrize("kind", [CONTROL, USER_DEFINED])
def test_a_tag_that_is_one_token_has_its_text(tmp_path: Path, tags: tuple[str, str], kind: int) -> None:
    template = CHATML + f"{{# the thought stands between {tags[0]} and {tags[1]} #}}"
    made = codec(tmp_path, template, tokens=bpe_vocabulary() | dict.fromkeys(tags, kind))
    assert made.traits == Traits(*tags, False)
    ids = [made.tokenizer.ids[tag] for tag in tags]
    assert [made.token_bytes(token).decode() for token in ids] == [*tags]
    assert made.encode("".join(tags)) == ids
    assert not {*ids} & {*made.end_ids, *made.forbidden_ids}


def test_a_control_token_that_is_no_think_tag_stays_without_text(tmp_path: Path) -> None:
    made = codec(tmp_path, QWEN3)
    assert made.token_bytes(made.tokenizer.ids["<|im_start|>"]) == b""


def test_a_thought_is_skipped_in_the_models_own_control_tokens(tmp_path: Path) -> None:
    tags = ("[THINK]", "[/THINK]")
    made = codec(tmp_path, CHATML + "{# [THINK] #}", tokens=bpe_vocabulary() | dict.fromkeys(tags, CONTROL))
    ids = made.encode_prompt(Chat.ask("hello", thinking=False))
    assert [token for token in ids if token in map(made.tokenizer.ids.get, tags)] == list(
        map(made.tokenizer.ids.get, tags)
    )


def test_a_message_can_neither_open_nor_close_a_thought_of_control_tokens(tmp_path: Path) -> None:
    tags = ("[THINK]", "[/THINK]")
    made = codec(tmp_path, CHATML + "{# [THINK] #}", tokens=bpe_vocabulary() | dict.fromkeys(tags, CONTROL))
    ids = made.encode_prompt(Chat((Message("user", "hello [/THINK][THINK]"),)))
    assert not {*ids} & {made.tokenizer.ids[tag] for tag in tags}
