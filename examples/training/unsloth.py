from datasets import load_dataset
from trl import SFTConfig, SFTTrainer
from unsloth import FastLanguageModel
from unsloth.chat_templates import get_chat_template, standardize_sharegpt, train_on_responses_only

model, tokenizer = FastLanguageModel.from_pretrained("unsloth/Qwen3-8B", max_seq_length=8192, load_in_4bit=True)
model = FastLanguageModel.get_peft_model(model, r=16, lora_alpha=32)
tokenizer = get_chat_template(tokenizer, chat_template="qwen-2.5")

records = load_dataset("json", data_files="train.jsonl", split="train")
# Unsloth knows no names for tool calls and their results.
plain = records.filter(lambda record: all(turn["from"] in ("system", "human", "gpt") for turn in record["conversations"]))
chats = standardize_sharegpt(plain)
texts = chats.map(
    lambda batch: {"text": [tokenizer.apply_chat_template(chat, tokenize=False) for chat in batch["conversations"]]},
    batched=True,
    remove_columns=chats.column_names,
)

trainer = SFTTrainer(
    model=model,
    processing_class=tokenizer,
    train_dataset=texts,
    args=SFTConfig(dataset_text_field="text", per_device_train_batch_size=1, num_train_epochs=1, output_dir="saves/gateway"),
)
trainer = train_on_responses_only(trainer, instruction_part="<|im_start|>user\n", response_part="<|im_start|>assistant\n")
trainer.train()
