from datasets import load_dataset

# All columns have the same type in all lines and files, so hours can be mixed.
records = load_dataset("json", data_files="data/requests_responses/*.jsonl", split="train")
whole = records.filter(lambda record: record["finish_reason"] == "stop")
print(whole[0]["conversations"])
